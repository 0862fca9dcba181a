//! Words that a question needs and an answer does not hold: they say nothing about what is looked for.

use std::collections::BTreeSet;

/// In English, Spanish, German, French and Portuguese, folded; words that are something else in another of these, or
/// in a program, are left out.
const STOP_WORDS: &str = "
a about after again all am an and any are as at be because been before being between both but by can could did do does doing done
during each few for from further had has have having he her here hers him his how i if in into is it its itself just let me more most my
no nor not of off on once only or other our out over own same she should so some such than that the their them then there these they this
those through to too under until up us was we were what when where which while who whom whose why will with would you your yours
i'm it's don't didn't doesn't what's that's there's we're you're i've
al algo ante como con cual cuando de del desde donde el ella ellos en era es esa ese eso esta este esto estos fue fueron ha hace hay la las
le les lo los mas me mi muy nos o para pero por porque que quien se ser si sin sobre su sus te tiene tu un una unas uno unos y ya
aber auch auf aus bei bis das dass dem den der des die durch ein eine einem einen einer es fur haben hat ich ihr im ist kann mit nach nicht
noch oder sich sie sind uber um und uns von vom wann warum was weil wenn wer werden wie wir wird wo zu zum zur
au aux avec ce ces cette dans des du elle est et etait eu il ils je leur ma mais mes ne nous ou par pas pour pourquoi qu quand qui sa ses
son sont sur ta tes ton une vos votre vous
ao aos as com da das dos ela ele em essa esse foi isso ja mais na nao nas nem os pela pelo seu sua tem uma voce
";

/// Endings of English words that may stand for another form of the same word, longest first.
const ENDINGS: [&str; 11] = ["ations", "ation", "ings", "ing", "ies", "ied", "edly", "ed", "es", "ly", "s"];
/// English words that change within, each with its forms.
const IRREGULAR: &str = "
begin began begun, break broke broken, bring brought, build built, buy bought, catch caught, child children, choose chose chosen, come came,
deal dealt, draw drew drawn, drink drank drunk, drive drove driven, eat ate eaten, fall fell fallen, feed fed, feel felt, fight fought, find
found, fly flew flown, forget forgot forgotten, freeze froze frozen, get got gotten, give gave given, go went gone, grow grew grown, hang
hung, hear heard, hide hid hidden, hold held, keep kept, know knew known, lead led, leave left, lose lost, make made, man men, mean meant,
meet met, pay paid, ride rode ridden, rise rose risen, run ran, say said, see saw seen, sell sold, send sent, shake shook shaken, shrink
shrank shrunk, sing sang sung, sit sat, sleep slept, speak spoke spoken, spend spent, stand stood, steal stole stolen, stick stuck, swim
swam swum, take took taken, teach taught, tell told, think thought, throw threw thrown, wake woke woken, wear wore worn, win won, woman
women, write wrote written
";
/// Letters that a word keeps at least.
const STEM_CHARS_MIN: usize = 3;

/// Whether a folded word is one of them.
pub(super) fn is_stop_word(word: &str) -> bool {
    STOP_WORDS.split_whitespace().any(|stop| stop == word)
}

/// Other forms of a folded English word, as far as its endings tell or it is known to change within; some of them are no
/// words. None of most short ones.
pub(super) fn forms(word: &str) -> BTreeSet<String> {
    let within = irregular(word).into_iter().flat_map(|other| regular(other).chain([other.to_owned()]));
    regular(word).chain(within).filter(|form| form != word).collect()
}

/// Those that begin otherwise, as `bought` of `buys`.
pub(super) fn irregular(word: &str) -> Vec<&'static str> {
    let forms: Vec<String> = regular(word).collect();
    let is_own = |known: &str| known == word || forms.iter().any(|form| form == known);
    let all = IRREGULAR.split(',').find(|all| all.split_whitespace().any(is_own));
    all.into_iter().flat_map(str::split_whitespace).filter(|known| !is_own(known)).collect()
}

fn regular(word: &str) -> impl Iterator<Item = String> {
    stems(word).flat_map(move |stem| forms_of(word, stem))
}

fn forms_of(word: &str, stem: &str) -> Vec<String> {
    // `try` is, `play` is not.
    let ends_with_y = stem.strip_suffix('y').is_some_and(|rest| !rest.ends_with(['a', 'e', 'o', 'u']));
    let is_of_y = word.ends_with("ies") || word.ends_with("ied") || ends_with_y;
    let stem = if ends_with_y { &stem[..stem.len() - 1] } else { stem };
    let endings: &[&str] = if is_of_y { &["y", "ies", "ied", "ying"] } else { &["", "s", "e", "es", "ed", "ing"] };
    let mut forms: Vec<String> = endings.iter().map(|ending| format!("{stem}{ending}")).collect();
    if let Some(last) = stem.chars().next_back().filter(|last| !is_of_y && "bdglmnprt".contains(*last)) {
        forms.extend(["ed", "ing"].map(|ending| format!("{stem}{last}{ending}")));
    }
    forms
}

/// How the other forms of a word begin; nothing where little stands before its ending.
fn stems(word: &str) -> impl Iterator<Item = &str> {
    let is_english = word.bytes().all(|byte| byte.is_ascii_lowercase());
    // `class` is of no `clas`.
    let mut endings = ENDINGS.iter().filter(|ending| **ending != "s" || !word.ends_with("ss"));
    let stem = endings.find_map(|ending| word.strip_suffix(ending)).unwrap_or(word);
    // `planning` is of `plan`, `pressing` of `press`; `controlled` is of `control`, and `called` of `call`.
    let is_long = stem != word && stem.len() > STEM_CHARS_MIN;
    let doubled = stem.bytes().next_back().filter(|last| is_long && stem.as_bytes().ends_with(&[*last; 2]));
    let single = doubled.map_or(stem, |_| &stem[..stem.len() - 1]);
    let single = if stem == word { stem.strip_suffix('e').unwrap_or(stem) } else { single };
    let double = doubled.filter(|last| b"flsz".contains(last)).map(|_| stem);
    // `tries` is of `try`.
    let least = STEM_CHARS_MIN - usize::from(word.ends_with("ies") || word.ends_with("ied"));
    [Some(single), double].into_iter().flatten().filter(move |stem| is_english && stem.len() >= least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_word_begin_alike() {
        for (forms, begins) in [
            (&["painting", "paintings", "painted", "paints", "paint"][..], &["paint"][..]),
            (&["planning", "planned", "plans", "plan"], &["plan"]),
            (&["migrations", "migration"], &["migr"]),
            (&["retries", "retried"], &["retr"]),
            (&["fix", "fixes", "fixed", "fixing"], &["fix"]),
            (&["adding", "adds", "add"], &["add"]),
            (&["controlled"], &["control", "controll"]),
        ] {
            for form in forms {
                assert_eq!(stems(form).collect::<Vec<_>>(), begins, "{form}");
            }
        }
        for word in ["is", "used", "αβγδε", "e2e", "das"] {
            assert_eq!(stems(word).next(), None, "{word}");
        }
        assert_eq!(irregular("buys"), ["bought"]);
        assert!(irregular("painting").is_empty());
        assert!(is_stop_word("what") && is_stop_word("cuando") && !is_stop_word("backoff"));
    }

    #[test]
    fn each_form_of_a_word_knows_the_others() {
        for all in [
            &["fix", "fixes", "fixed", "fixing"][..],
            &["run", "runs", "running"],
            &["call", "calls", "called", "calling"],
            &["press", "pressed", "pressing"],
            &["control", "controls", "controlled", "controlling"],
            &["try", "tries", "tried", "trying"],
            &["log", "logs", "logged", "logging"],
            &["buy", "buys", "buying", "bought"],
            &["write", "writes", "writing", "wrote", "written"],
            &["go", "went", "gone"],
            &["play", "plays", "played", "playing"],
        ] {
            for (one, other) in all.iter().flat_map(|one| all.iter().map(move |other| (one, other))) {
                assert!(one == other || forms(one).iter().any(|form| form == other), "{one}: {other}");
            }
        }
    }
}
