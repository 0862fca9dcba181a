//! Stores that somebody had their hands on: a small, seeded sample of what `cargo xtask soak hostile` does for hours.

use tests::hostile::Pair;
use tests::run::LIMIT;

#[test]
fn whatever_was_done_to_a_store_every_command_ends_well_and_what_is_whole_comes_back() {
    let pair = Pair::new(LIMIT);
    for seed in 1..=6 {
        let tried = pair.try_out(seed);
        assert!(tried.wrong.is_empty(), "seed {seed}: {:#?}", tried);
    }
}
