//! Every row of the tables in everything that a text may be put into, and what only looks like a secret.

use super::*;
use crate::testing::cpu_time;

/// The masks without what they say.
fn bare(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(MASK_BEGIN) {
        out.push_str(&rest[..at]);
        out.push_str("[masked]");
        rest = &rest[at + rest[at..].find(']').unwrap() + 1..];
    }
    out + rest
}

fn mask(text: &str) -> String {
    let mut redactor = Redactor::default();
    redactor.learn(text);
    let masked = redactor.mask(text).into_owned();
    // Nothing more to mask in what was masked.
    let again = Redactor::default().mask(&masked).into_owned();
    assert_eq!(bare(&again), bare(&masked), "{text}");
    masked
}

/// What comes out of the text.
fn check(text: &str, expected: &str) {
    assert_eq!(bare(&mask(text)), expected, "{text}");
}

/// Numbers that are the same every time.
fn numbers() -> impl FnMut() -> usize {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize
    }
}

fn chance(random: &mut impl FnMut() -> usize, of: &str, length: usize) -> String {
    let of: Vec<char> = of.chars().collect();
    (0..length).map(|_| of[random() % of.len()]).collect()
}

const HEX: &str = "0123456789abcdef";
const ALNUM: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

fn json(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn percent(text: &str, all: bool) -> String {
    text.bytes()
        .map(|b| if all || !b.is_ascii_alphanumeric() { format!("%{b:02X}") } else { char::from(b).to_string() })
        .collect()
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;").replace('=', "&#61;").replace('/', "&#x2F;")
}

/// As Markdown is written by who wants nothing of it to be a mark.
fn escaped(text: &str) -> String {
    let escaped = |c: char| if c.is_ascii_punctuation() { vec!['\\', c] } else { vec![c] };
    text.chars().flat_map(escaped).collect()
}

/// With marks of Markdown around what stands before its last characters.
fn emphasized(token: &str, mark: &str) -> String {
    let word =
        |at: &usize| token.as_bytes()[at - 1..=*at].iter().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(b));
    let (from, to) = (token.len() / 2, token.len() - 4);
    let (from, to) = ((1..=from).rev().find(word).unwrap_or(1), (1..=to).rev().find(word).unwrap_or(1));
    format!("before {}{mark}{}{mark}{} after", &token[..from.min(to)], &token[from.min(to)..to], &token[to..])
}

/// What a text may be put into. Each begins and ends with words that stay.
type Carrier = (&'static str, fn(&str) -> String);
const CARRIERS: [Carrier; 25] = [
    ("plain", |t| format!("before {t} after")),
    ("end of line", |t| format!("before\n{t}\r\nafter")),
    ("JSON", |t| format!("before {{\"out\":{}}} after", json(&format!("line one\n{t}\tline")))),
    ("JSON in JSON", |t| {
        format!("before {{\"out\":{}}} after", json(&format!("{{\"v\": {}}}", json(&format!("a\n{t}\nb")))))
    }),
    ("JSON three deep", |t| format!("before {} after", json(&json(&json(&json(&format!("x\n{t}\n"))))))),
    ("\\u0022", |t| format!("before a\\u0022{}\\u0022 after", t.replace('"', "\\u0022").replace('\n', "\\n"))),
    ("bytes of Python", |t| format!("before b'k\\r\\n{}\\r\\n' after", t.replace('\n', "\\n").replace('\'', "\\'"))),
    ("code fence", |t| format!("before\n```sh\n{t}\n```\nafter")),
    ("code", |t| format!("before `{t}` after")),
    ("table", |t| format!("| before | {t} | after |")),
    ("list", |t| format!("before\n- {t}\n- after")),
    ("quote", |t| format!("before\n> {t}\nafter")),
    ("diff", |t| format!("before\n+{}\n after", t.replace('\n', "\n+"))),
    ("numbered", |t| format!("before\n   12→{}\n   99→after", t.replace('\n', "\n   13→"))),
    ("percent encoded", |t| format!("before https://x.test/?q={}&x=after", percent(&format!(" {t} "), false))),
    ("percent encoded whole", |t| format!("before q%3D{}%26 after", percent(t, true))),
    ("HTML", |t| format!("before <td>{}</td> after", html(&format!("x {t} y")))),
    ("coloured", |t| format!("before \u{1b}[1;32m{t}\u{1b}[0m after")),
    ("coloured within", |t| {
        let at = t.len() - t.chars().rev().take(4).map(char::len_utf8).sum::<usize>();
        format!("before {}\u{1b}[0m\u{1b}[31m{} after", &t[..at], &t[at..])
    }),
    ("base64", |t| format!("before {} after", encoded::to_base64(&format!("x: y\n{t}\nmore of it")))),
    ("base64 in base64", |t| {
        format!("before {} after", encoded::to_base64(&encoded::to_base64(&format!("x: y\n{t}\nmore"))))
    }),
    ("hexadecimal", |t| {
        format!(
            "before {} after",
            format!("x: y\n{t}\nmore of it").bytes().map(|b| format!("{b:02x}")).collect::<String>()
        )
    }),
    ("Markdown escapes", |t| format!("before {} after", escaped(t))),
    ("Chinese", |t| format!("before 使用 {t} 登录，然后继续 after")),
    ("invisible", |t| {
        let at = t.len() - t.chars().rev().take(3).map(char::len_utf8).sum::<usize>();
        format!("before {}\u{200b}{} after", &t[..at], &t[at..])
    }),
];

/// Contexts of a bare token only.
const AROUND_TOKENS: [Carrier; 17] = [
    ("after =", |t| format!("before X={t} after")),
    ("after :", |t| format!("before x: {t}, after")),
    ("quoted", |t| format!("before x = \"{t}\"; after")),
    ("quoted once", |t| format!("before f('{t}', after)")),
    ("parentheses", |t| format!("before ({t}). after")),
    ("after Chinese", |t| format!("before 使用{t}登录 after")),
    ("header", |t| format!("before\nX-Thing: {t}\r\nafter")),
    ("history", |t| format!("before\n  512  run --thing {t} && ls\nafter")),
    ("YAML", |t| format!("before:\n  thing: {t}\n  after: 1")),
    ("mail", |t| format!("before k=3D{t} after")),
    ("end of a sentence", |t| format!("before it is {t}. And after")),
    ("assigned in a shell", |t| format!("before\nexport X={t}; after")),
    ("element", |t| format!("before <x>{t}</x> after")),
    ("address", |t| format!("before https://x.test/?x={t}&y=after")),
    ("Markdown escapes in JSON", |t| format!("before {} after", json(&escaped(t)))),
    ("bold within", |t| emphasized(t, "**")),
    ("struck within", |t| emphasized(t, "~~")),
];

/// Whether the masked text, its escapes undone too, still holds a good part of the secret.
fn leaks(masked: &str, secret: &str) -> bool {
    let parts: Vec<&str> = secret.split(['\n', ' ']).filter(|part| part.len() >= 6).collect();
    let is_in = |text: &str| {
        parts.iter().any(|part| {
            (0..=part.len() - 6)
                .any(|at| part.is_char_boundary(at) && part.get(at..at + 6).is_some_and(|piece| text.contains(piece)))
        })
    };
    let mut text = masked.to_owned();
    loop {
        if is_in(&text) {
            return true;
        }
        let mut decoded = String::new();
        encoded::texts(&text, &mut |encoded| decoded.push_str(&encoded.text));
        if is_in(&decoded) {
            return true;
        }
        match Decoded::of(&text) {
            Some(next) => text = next.text,
            None => return false,
        }
    }
}

/// Puts the text into the carrier; what leaks of the secret, or is lost of what stands around.
fn carried(what: &str, text: &str, secret: &str, (name, carrier): Carrier, wrong: &mut Vec<String>) {
    let carried = carrier(text);
    let masked = mask(&carried);
    if leaks(&masked, secret) {
        wrong.push(format!("{what} leaks, {name}: {masked}"));
    } else if !masked.contains("before") || !masked.contains("after") {
        wrong.push(format!("{what} takes too much, {name}: {masked}"));
    } else if name.starts_with("JSON") {
        let json = &masked["before ".len()..masked.len() - " after".len()];
        if serde_json::from_str::<serde_json::Value>(json).is_err() {
            wrong.push(format!("{what} breaks {name}: {masked}"));
        }
    }
}

#[test]
fn every_token_is_masked_wherever_it_stands() {
    let mut random = numbers();
    let mut wrong = Vec::new();
    let rules = tokens::rules();
    for rule in &rules {
        for token in rule.examples(&mut random) {
            // What a secret has in common with others, its beginning, tells nothing.
            let known =
                rule.prefixes.iter().find_map(|prefix| token.find(*prefix).map(|at| at + prefix.len())).unwrap_or(0);
            let secret = if token.len() - known >= 8 { &token[known..] } else { &token };
            for carrier in CARRIERS.into_iter().chain(AROUND_TOKENS) {
                carried(&format!("{} {token}", rule.kind), &token, secret, carrier, &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
    assert!(rules.len() > 240);
}

/// A name or a place that makes what stands there a secret: `{}`.
const NAMED: &[(&str, &str)] = &[
    ("word", "DB_PASSWORD={}"),
    ("word", "export PGPASSWORD='{}'"),
    ("word", "password: {}"),
    ("word", "db:\n  user: a\n  pass: {}"),
    ("word", "MYSQL_PWD={}"),
    ("word", "SMTP_PASS=\"{}\""),
    ("word", "\"password\": \"{}\""),
    ("word", "{\"name\":\"DB_PASSWORD\",\"value\":\"{}\"}"),
    ("word", "- name: DB_PASSWORD\n  value: {}"),
    ("word", "<password>{}</password>"),
    ("word", "<add key=\"ApiSecret\" value=\"{}\" />"),
    ("word", "<setting name=\"Password\" value=\"{}\"/>"),
    ("word", "spring.datasource.password={}"),
    ("word", "-Djavax.net.ssl.keyStorePassword={}"),
    ("word", "helm install --set auth.password={},a=b"),
    ("word", "Server=db;Database=x;User Id=sa;Password={};Encrypt=yes"),
    ("word", "Driver=x;Uid=sa;Pwd={};"),
    ("word", "jdbc:postgresql://db:5432/x?user=a&password={}"),
    ("word", "jdbc:oracle:thin:scott/{}@db:1521:orcl"),
    ("word", "postgres://admin:{}@db.internal:5432/prod"),
    ("word", "mysql://root:p@ss/{}@db/x"),
    ("word", "amqp://root:p#{}@db/x"),
    ("word", "https://me:{}@github.com/a/b"),
    ("word", "redis://:{}@localhost:6379/0"),
    ("word", "mongodb+srv://me:{}@cluster0.x.mongodb.net/?retryWrites=true"),
    ("word", "db.internal:5432:prod:admin:{}"),
    ("word", "machine api.github.com login me password {}"),
    ("word", "machine h\n  login me\n  password {}"),
    ("word", "curl -u admin:{} https://x.test/"),
    ("word", "curl -sS --user 'admin:{}' https://x.test/"),
    ("word", "curl https://x.test/ -uadmin:{}"),
    ("word", "mysql -u root -p{} db"),
    ("word", "mysqldump -h db -uroot -p'{}' app > dump.sql"),
    ("word", "sshpass -p {} ssh host"),
    ("word", "sshpass -p'{}' ssh host"),
    ("word", "docker login -u a -p {} registry.test"),
    ("word", "echo 'root:{}' | chpasswd"),
    ("word", "redis-cli -h h -a {} ping"),
    ("word", "mongosh -u root -p {} --host x"),
    ("word", "ldapsearch -x -D cn=admin -w {} -b dc=x"),
    ("word", "smbclient -U me%{} //host/share"),
    ("word", "7z x -p{} a.7z"),
    ("word", "unzip -P {} a.zip"),
    ("word", "sqlcmd -S db -U sa -P {}"),
    ("word", "az login --service-principal -u x -p {} --tenant y"),
    ("word", "keytool -list -keystore a.jks -storepass {}"),
    ("word", "openssl rsa -in k.pem -passin pass:{}"),
    ("word", "htpasswd -b file me {};"),
    ("word", "lftp -u me,{} ftp.x.test"),
    ("word", "rabbitmqctl add_user me {}"),
    ("word", "wpa_passphrase home {}"),
    ("word", "kubectl create secret generic x --from-literal=conn={}"),
    ("word", "twine upload -u me -p {} dist/*"),
    ("word", "gpg --batch --passphrase {} -d x"),
    ("word", "ssh-keygen -t ed25519 -N {} -f k"),
    ("word", "ssh-keygen -p -P '{}' -f k"),
    ("word", "ldapsearch -x -w {} -D cn=admin"),
    ("word", "net use \\\\host\\share {} /user:me"),
    ("word", "net use Z: \\\\host\\share /user:me {}"),
    ("word", "schtasks /create /tn x /ru me /rp {}"),
    ("word", "rclone obscure {}"),
    ("word", "echo {} | pass insert -e mail/me"),
    ("word", "echo -n '{}' | cryptsetup open /dev/sda1 x -"),
    ("word", "printf '%s\\n' {} | sudo cryptsetup luksOpen /dev/sda1 x"),
    ("word", "echo {} | sudo -S ls"),
    ("word", "passwd --stdin me <<< {}"),
    ("word", "smbclient //host/share -U me%{}"),
    ("word", "CREATE USER 'app'@'%' IDENTIFIED BY '{}';"),
    ("word", "CREATE USER app IDENTIFIED WITH caching_sha2_password BY '{}';"),
    ("word", "WIFI:T:WPA;S:net;P:{};;"),
    ("word", "WIFI:S:my net;P:{};T:WPA;H:true;;"),
    ("word", "kind: Secret\nstringData:\n  user: me-or-you\n  x: {}\n"),
    ("word", "{\"stringData\": {\"x\": \"{}\"}}"),
    ("alnum", "kind: Secret\ntype: Opaque\ndata:\n  x: {}\n"),
    ("alnum", "apiVersion: v1\ndata:\n  x: {}\nkind: Secret\n"),
    ("word", "spawn ssh me@host\nexpect \"*assword:\"\nsend \"{}\\r\"\n"),
    ("word", "\\password{{}}"),
    ("word", "\\newcommand{\\password}{{}}"),
    ("word", "INSERT INTO u (name, password) VALUES ('me', '{}');"),
    ("word", "INSERT INTO `u` (`id`, `password`, `n`) VALUES\n  (1, 'it''s you, really', 2),\n  (2, '{}', 3);\n"),
    ("word", "name,password\nme,{}\n"),
    ("word", "name,password,age\nyou,\"a,\"\"b\"\"c\",12\nme,{},13\n"),
    ("word", "name;password\nme;{}\n"),
    ("word", "name\tpassword\nme\t{}\n"),
    ("alnum", "User name,Access key ID,Secret access key\nme,AKIAIOSFODNN7EXAMPL2,{}\n"),
    ("word", "| user | password |\n|---|---|\n| you | hunter22 |\n| me | {} |\n"),
    ("word", " user | password | n\n------+----------+---\n me   | {} | 1\n(1 row)\n"),
    ("word", "+------+----------+\n| user | password |\n+------+----------+\n| me   | {} |\n+------+----------+\n"),
    ("word", "│ user │ db_password │\n├──────┼─────────────┤\n│ me   │ {} │\n"),
    ("word", "mysql --password={} -u root"),
    ("word", "cli --db-password {} run"),
    ("word", "wget --http-password={} https://x.test/"),
    ("word", "psk=\"{}\""),
    ("word", "ansible_become_pass: {}"),
    ("word", "ansible_ssh_pass={}"),
    ("word", "PIN: {}"),
    ("word", "let password: &str = \"{}\";"),
    ("word", "const dbPassword = '{}';"),
    ("word", "config[\"password\"] = \"{}\";"),
    ("word", "define('DB_PASSWORD', '{}');"),
    ("word", "conn.set(\"password\", \"{}\");"),
    ("word", "'secret' => '{}'"),
    ("word", "user[password]={}"),
    ("word", "**Password:** {}"),
    ("word", "Password for admin (staging): {}"),
    ("word", "The password is {} and it works"),
    ("word", "use password {} there"),
    ("word", "my password for the db is {}"),
    ("word", "Das Passwort lautet {}"),
    ("word", "Kennwort: {}"),
    ("word", "contraseña: {}"),
    ("word", "La contraseña de la base es {}"),
    ("word", "le mot de passe est {}"),
    ("word", "a senha é {}"),
    ("word", "het wachtwoord is {}"),
    ("word", "hasło: {}"),
    ("word", "пароль: {}"),
    ("word", "Пароль от базы это {}"),
    ("word", "密码是{}，请保密"),
    ("word", "密码：{}"),
    ("word", "パスワードは{}です"),
    ("word", "비밀번호는 {} 입니다"),
    ("word", "şifre: {}"),
    ("word", "lösenord: {}"),
    ("alnum", "AWS_SECRET_ACCESS_KEY={}"),
    ("alnum", "aws_secret_access_key = {}"),
    ("alnum", "| SecretAccessKey |  {}  |"),
    ("alnum", "AWS Secret Access Key [None]: {}"),
    ("alnum", "aws configure set aws_secret_access_key {}"),
    ("alnum", "AKIAIOSFODNN7EXAMPL2,{}"),
    ("alnum", "ALGOLIA_ADMIN_KEY={}"),
    ("alnum", "SOME_API_KEY={}"),
    ("alnum", "STRIPE_KEY_FOR_CI={}"),
    ("alnum", "CF_API_TOKEN={}"),
    ("alnum", "X-Auth-Key: {}"),
    ("alnum", "X-Api-Key: {}"),
    ("alnum", "Authorization: Bearer {}"),
    ("alnum", "-H 'Authorization: Basic {}'"),
    ("alnum", "Proxy-Authorization: Basic {}"),
    ("alnum", "\"authorization\": \"token {}\""),
    ("alnum", "Authorization: {}"),
    ("alnum", "curl -H 'bearer {}'"),
    ("alnum", "curl -H 'Cookie: session={}; csrftoken=abc'"),
    ("alnum", "Set-Cookie: connect.sid=s%3A{}; HttpOnly"),
    ("alnum", "sessionid={}"),
    ("alnum", "//registry.test/:_authToken={}"),
    ("alnum", "npm config set //registry.test/:_authToken {}"),
    ("alnum", "_auth={}"),
    ("alnum", "{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"{}\"}}}"),
    ("alnum", "https://x.test/cb?token={}&state=1"),
    ("alnum", "https://x.test/cb?sig={}"),
    ("alnum", "https://a.blob.core.windows.net/c?sv=2022&sig={}%3D"),
    ("alnum", "AccountKey={};EndpointSuffix=core.windows.net"),
    ("alnum", "Endpoint=sb://x/;SharedAccessKeyName=R;SharedAccessKey={}"),
    ("alnum", "https://{}@o1234.ingest.sentry.io/5678"),
    ("alnum", "APP_KEY=base64:{}"),
    ("alnum", "SECRET_KEY = '{}'"),
    ("alnum", "JWT_SIGNING_KEY={}"),
    ("alnum", "PrivateKey = {}"),
    ("alnum", "otpauth://totp/x?secret={}&issuer=x"),
    ("alnum", "variable \"x\" {}\n  token = \"{}\""),
    ("alnum", "declare -x api_token=\"{}\""),
    ("alnum", "credentials: {}"),
    ("alnum", "heroku = {}"),
    ("alnum", "datadog: {}"),
    ("alnum", "clé API : {}"),
    ("alnum", "the API key is {} for now"),
    ("alnum", "gh auth login --token {}"),
    ("alnum", "vault login {}"),
    ("alnum", "cargo login {}"),
    ("alnum", "fly secrets set X={};"),
    ("alnum", "the secret value is {}"),
    ("letters", "contraseña: {}"),
    ("letters", "curl -H 'bearer aBcDeFgHiJkLmN{}'"),
    ("hex", "RAILS_MASTER_KEY={}"),
    ("hex", "SECRET_KEY_BASE={}"),
    ("hex", "DD_API_KEY={}"),
    ("hex", "TWILIO_AUTH_TOKEN={}"),
    ("hex", "PRIVATE_KEY=0x{}"),
    ("hex", "https://b.s3.amazonaws.com/k?X-Amz-Signature={}"),
    ("hex", "https://{}@o1234.ingest.sentry.io/5678"),
    ("hex", "\"private_key_id\": \"{}\""),
    ("words", "mnemonic: \"{}\""),
    ("words", "My seed phrase is \"{}\""),
];

#[test]
fn every_name_is_heeded_wherever_it_stands() {
    let mut random = numbers();
    let mut wrong = Vec::new();
    for (of, template) in NAMED {
        let secret = match *of {
            "hex" => chance(&mut random, HEX, 32),
            "letters" => "UcGQAdIBbfXq".to_owned(),
            "alnum" => format!("a1B{}", chance(&mut random, ALNUM, 37)),
            "words" => {
                "ability able about above absent absorb abstract absurd abuse access accident account".to_owned()
            }
            _ => format!("{}7x", chance(&mut random, ALNUM, 9)),
        };
        let text = template
            .replacen("{}", &secret, template.matches("{}").count())
            .replace(&format!("\"x\" {secret}\n"), "\"x\" {}\n");
        for carrier in CARRIERS {
            // What reaches to the end of its line takes what follows there.
            // A table in a table is none.
            let is_unfit = matches!(carrier.0, "coloured within" | "invisible")
                || carrier.0 == "Chinese" && template.contains('\n')
                || carrier.0 == "table" && template.contains('|') && template.contains('\n');
            if !is_unfit {
                carried(template, &text, &secret, carrier, &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}

/// What is no secret, and looks like one.
const NOT_SECRET: &str = r##"
commit d8757c7e5b3d80da38684fbeb0630aa144649138
commit: d8757c7e5b3d80da38684fbeb0630aa144649138
HEAD is now at 3f2a9b1 fix the parser
index 83db48f..bf269f4 100644
"sha": "d8757c7e5b3d80da38684fbeb0630aa144649138"
git checkout 4b825dc642cb6eb9a060e54bf8d69288fbee4904 -- src/
Merge: 1a2b3c4d 5e6f7a8b
From d8757c7e5b3d80da38684fbeb0630aa144649138 Mon Sep 17 00:00:00 2001
id: 5b3d80da-3868-4fbe-b063-0aa144649138
"uuid": "5b3d80da-3868-4fbe-b063-0aa144649138"
session: 5b3d80da-3868-4fbe-b063-0aa144649138
"sessionId":"5b3d80da-3868-4fbe-b063-0aa144649138"
session_id=8c1f04de-1f0d-4b6e-9d0c-3a1b2c3d4e5f
"key": "5b3d80da-3868-4fbe-b063-0aa144649138"
PRIMARY KEY (id), UNIQUE KEY uuid (uuid)
sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  Cargo.lock
d41d8cd98f00b204e9800998ecf8427e  empty.txt
checksum = "c982642fa9e8606056828ee9a8505737230110bb1099153c79efe865c59d12ba"
integrity: sha512-v2kDEe57lecTulaDIuNTPy3Ry4gLGJ6Z1O3vE1krgXZNrsQ+LFTGHVxVjcXPs17LhbZVGedAJv8XZ1tvj5FvSg==
"integrity": "sha512-v2kDEe57lecTulaDIuNTPy3Ry4gLGJ6Z1O3vE1krgXZNrsQ+LFTGHVxVjcXPs17LhbZVGedAJv8XZ1tvj5FvSg=="
golang.org/x/sys v0.5.0 h1:MUK/U/4lj1t1oPg0HfuXDN/Z1wv31ZJ/YcPiGccS4DU=
<script integrity="sha384-oqVuAfXRKap7fdgcCY5uykM6+R9GqQ8K/uxy9rx7HNQlGYl1kPzQho1wx4JwY8wC" crossorigin="anonymous">
docker pull nginx@sha256:2a2ad2bd1eb1dc6b7a1f0e2e9c3d9c2f5e8b7a6d5c4b3a29181716151413121f
Digest: sha256:2a2ad2bd1eb1dc6b7a1f0e2e9c3d9c2f5e8b7a6d5c4b3a29181716151413121f
e_tag: "33a64df551425fcc55e4d42a148795d9f25f89d4"
ETag: W/"0815-33a64df551425fcc55e4d42a148795d9"
cache-key: node-modules-d8757c7e5b3d80da38684fbeb0630aa144649138
cache_key = "d8757c7e5b3d80da38684fbeb0630aa144649138"
key: ${{ runner.os }}-cargo-${{ hashFiles('**/Cargo.lock') }}
blake3: af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262
"tool_use_id": "toolu_01A09q90qw90lq917835lq9z"
"id":"msg_01XFDUDYJgAACzvnptvVoYEL"
request id: req_011CSHoEeqs5C35K2UUqR7Fy
chatcmpl-9u4C7dYfT1qUeJtJ4jR0m2Xx3Vb5K
call_abc123XYZ789defGHI456jkl
srvtoolu_01WYG3ziw53XMcoyKL4XcZmE
cus_NffrFeUfNV2Hib and pi_3MtwBwLkdIwHu7ix28a3tqPa
/home/me/projects/app/src/session/token_store.rs
C:\Users\me\AppData\Local\Temp\tok3n-cache\x64
/usr/lib/x86_64-linux-gnu/libcrypto.so.3
node_modules/.pnpm/@babel+core@7.23.9/node_modules/@babel/core
target/debug/deps/layer3_indexer-0f1e2d3c4b5a6978
./tests/fixtures/password_reset.html
key: /etc/ssl/private/server.key
KEY_FILE=/etc/ssl/private/server.key
ssh-keygen -t ed25519 -f ~/.ssh/id_ed25519_work
password_file: /run/secrets/db_password
SECRET_PATH=/var/run/secrets/kubernetes.io/serviceaccount/token
2026-11-22T10:00:00.000Z
time="2026-11-22T10:00:00Z" level=info
version: 1.2.3-beta.4+build.5678
"version": "2.1.330"
v1.28.3-eks-4f4795d
rustc 1.89.0 (29483883e 2025-08-04)
password=$PASSWORD
password="${DB_PASSWORD}"
token: ${{ secrets.GITHUB_TOKEN }}
api_key = os.environ["OPENAI_API_KEY"]
apiKey: process.env.OPENAI_API_KEY
const token = process.env.TOKEN!
token = os.getenv("TOKEN")
password: {{ db_password }}
secret: !Ref DbSecret
password = var.db_password
token = data.aws_ssm_parameter.token.value
password: <your password>
token=<token>
API_KEY=your-api-key-here
api_key: YOUR_API_KEY
apikey=xxxxxxxxxxxxxxxxxxxx
GITHUB_TOKEN=ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
sk-ant-...
sk_live_...
AKIAXXXXXXXXXXXXXXXX
password: changeme
PASSWORD=********
password: "***"
secret: REDACTED
token: [REDACTED]
token: null
"token": null, "password": ""
password: ''
password: true
let token = parser.next_token();
token = parse_token(input)
const token = await getToken(user);
let secret = generate_secret(&mut rng);
password = input('Password: ')
password = getpass.getpass()
fn login(password: &str, token: Option<String>) -> Token {
password: String,
Token::Ident(name)
if token == other_token {
login(user, password=password, token=self.token)
this.token = token;
self.password = password
password: password_field.value
user.password = form.password.data
password_field = PasswordField("Password")
<input type="password" name="password" placeholder="Enter your password">
<label for="password">Password</label>
"password": "Password"
"forgot_password": "Forgot your password?"
"error.token": "Your token is not valid."
key: "user_id"
key = "name"
{"key": "value", "other_key": "other_value"}
for key, value in items.items():
map.get(key).unwrap_or_default()
Object.keys(session).length
key={item.id}
<li key={index}>
sort_key: created_at
"primaryKey": "orderId"
keys: [one, two]
keyboard: de-latin1
max_tokens=4096
"max_tokens": 4096, "total_tokens": 123456
tokens: 184320
input_tokens: 12, output_tokens: 3456
token_count = 1024
token expires in 3600s
the token is valid for 24h
The password is stored elsewhere; the secret of success
the token, the password and the secret
Your password must be at least 12 characters long.
password is required
the password is wrong
Passwort vergessen?
Das Passwort ist falsch.
la contraseña es incorrecta
cookie: SameSite=Lax
Set-Cookie: a=; Path=/; HttpOnly
cookie_consent=true
session.cookie_secure = True
auth: basic
Authorization: required
Authorization is up to you
Bearer authentication is used
"auth": "oauth2"
auth = AuthService(config)
oauth_version="1.0"
secrets: [one, two]
secret: inherit
AWS_REGION=eu-central-1
PWD=/home/dev/proj
OLDPWD=/home/dev/proj2
bypass=1
monkey=banana7
compass=north
pass: 12, fail: 3
tests pass: 120
--pass-through-args x86_64
PASS src/session.test.ts (5.123 s)
pin: true
pin_version: 1.4.2
signature: (a: string) => void
sign(sha256, key)
-----BEGIN CERTIFICATE-----
-----BEGIN PUBLIC KEY-----
ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me@host
ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC7vbqajDRETgXKqRbTwb9oVQ2 me@host
PUBLIC_KEY=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA
data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==
https://example.com/@user/post
https://example.com/?mail=a@b.c
see https://example.com, or a@b.c
git@github.com:a/b
ssh://git@github.com/a/b
https://${USER}@host
https://x.test:8443/path/a@b
postgres://localhost:5432/app
redis://localhost:6379/0
http://localhost:3000/api?key=name&sort=asc
https://cdn.test/app.4f9a8b7c.js?v=20261122
color: #a1b2c3; background: #ffeedd
.css-1q2w3e4r { margin: 0 }
class="sc-bdVaJa kZPqFq styled__Button-sc-1k2j3h"
utf8mb4_general_ci
x86_64-unknown-linux-gnu
mysql -u root -p app
docker run -p 8080:80 -e TZ=UTC nginx
curl -u "$USER:$PASS" https://x.test
curl -X POST https://x.test/login
psql -U postgres -d app -p 5432
ssh -p 2222 me@host
mkdir -p src/password
git log -p session.rs
docker login registry.test
gh auth login
7z x archive.7z
tar -xzf pass.tar.gz
echo $TOKEN | docker login -u me --password-stdin
mysql --user=root --host=db
cargo test -p layer3-indexer redact::
github: rust-lang/rust
linear: true
"stripe": "^14.21.0"
sentry-cli = "2.28.6"
slack: '#deploys'
google: https://maps.google.com/?q=x
heroku: app-name-1234
docker: nginx:1.25.3-alpine
openai==1.12.0
aws-sdk-s3 = "1.17.0"
npm_config_cache
hf_hub_download
sk-learn-pipeline-with-a-long-name
task-0123456789abcdef0123456789abcdef
MAKIAIOSFODNN7EXAMPLE
xoxb-1
eyJhbGciOiJIUzI1NiJ9
mask-image: url(x)
1234567890123456789
192.168.178.1:5432
00:1A:2B:3C:4D:5E
fe80::1ff:fe23:4567:890a%eth2
me+tag@example.com
ISBN 978-3-16-148410-0
0xdeadbeef 0x7ffee3b2c1a0
thread 'main' panicked at src/token.rs:42:13
    at Session.login (/app/node_modules/passport/lib/session.js:33:11)
test redact::tests::tokens ... ok
error[E0382]: use of moved value: `token`
lib/secret_store.dart:120: secretKey: key,
import { createCookieSessionStorage } from "@remix-run/node";
use crate::redact::{Secret, Token};
SELECT password_hash, api_key_id FROM users WHERE session_id = $1
ALTER TABLE users ADD COLUMN password_digest VARCHAR(255) NOT NULL;
grep -rn "password" src/ | head -20
#password-reset-form
## Secrets and tokens
"scripts": { "auth": "node scripts/auth.js" }
ghp\_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx and sk\-ant\-\.\.\.
npm\_config\_cache
hf\_hub\_download
1\. a\_snake\_case\_name \- and \*another\* of it
^(?:ghp|gho)\_[A-Za-z0-9]{36}$
s/xoxb\-[0-9]+/x/; \.(js|ts)$ \d+\.\d+
commit **d8757c7e**5b3d80da38684fbeb0630aa144649138
let area = width*height*2 + 2**10 - x*y; HEAD~~3
task**-0123456789abcdef**0123456789abcdef
fold -w 80 notes.txt
parallel -N 5 echo
nproc | xargs -P 4 -N 5 make
echo hello | tee -a notes.txt
echo yes | cryptsetup
net use
schtasks /query /tn backup /fo LIST
rclone copy here there
pass insert mail/me
ssh-keygen -l -f ~/.ssh/id_ed25519.pub
users are identified by 'email'
send "ls -la\r"
\documentclass{article} \section{Passwords} \key{Ctrl}
WIFI: connected
kind: SecretProviderClass
INSERT INTO u (name, age) VALUES ('password', 12);
INSERT INTO u (id, password) VALUES ($1, $2), (?, ?), (:id, :password);
--- PASS: TestShadowStrategy_MultipleSessions (0.28s)
    --- PASS: TestCheckpoint/with_two_sessions (0.00s)
PASS: tests/run_all-1.sh
--- PASS: TestResume_LocalLogNewerTimestamp_UserConfirmsOverwrite (0.03s)
=== RUN   TestShadowStrategy_MultipleSessions
return fmt.Errorf("failed to set branch tracking: %w", err)
the flag should remain set (for tracking) and set up interleaved sessions
agent type display name and config file name; git config set advice.hint false
// Set push_sessions explicitly if --skip-push is set during PostCommit
Entire-Session: 2026-01-13-5b3d80da-3868-4fbe-b063-0aa144649138
"session": "2026-01-13-5b3d80da-3868-4fbe-b063-0aa144649138"
"committedDate":"2026-01-13T10:22:31Z","authoredDate":"2026-01-13T10:22:31+01:00"
{"pattern":"func.*GetSessionState","path":"/srv/app"}
transcriptLinesAtStart = sessionState.TranscriptLinesAtStart
basePath := "testdata/transcripts"
"##;

/// Tables of several lines that hold no secret.
const NO_SECRETS_IN: [&str; 16] = [
    "name,age\nbob,12\nada,36\n",
    "test,pass rate,total\nunit,98.5%,1200\ne2e,77.1%,31\n",
    "| suite | pass rate | fail rate |\n|---|---|---|\n| unit | 98.5% | 1.5% |\n| e2e2x | 4/5 | 1/5 |\n",
    "| parameter | type |\n|---|---|\n| password | string |\n| token | String |\n",
    "| password | token |\n|---|---|\n| required | optional |\n| ✓ | — |\n| $PASSWORD | <token> |\n",
    "  Column  | Type | Nullable\n----------+------+---------\n password | text | not null\n created  | timestamp1z | not null\n",
    "id,column,type\n1,password,text\n2,created2at,time\n",
    "SELECT id, password\nFROM users, sessions2x\n",
    "the user, the password\nand so on, as before\n",
    "login(user, password,\n      host, port)\n",
    "struct {\n\tPassword\tstring\n\tEmail\tstring\n}\n",
    "user;password;\nfoo = 1; bar = 2;\n",
    "| token | meaning |\n|---|---|\n| Ident | a name |\n| LBrace | an opening brace |\n",
    "name,password\nbob,\nada,********\n",
    "apiVersion: v1\ndata:\n  colour: blue\nkind: ConfigMap\n",
    "kind: Secret\nmetadata:\n  name: app-config\n  labels:\n    app: web2x3y4z5\n",
];

#[test]
fn a_table_without_secrets_stays() {
    let mut wrong = Vec::new();
    for table in NO_SECRETS_IN {
        for text in [table.to_owned(), json(table), format!("see:\n{table}\nand so on"), escaped(table)] {
            let masked = Redactor::default().mask(&text).into_owned();
            wrong.extend((masked != text).then(|| format!("{text}\n    {masked}")));
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_only_looks_like_a_secret_stays() {
    let lines: Vec<&str> = NOT_SECRET.lines().filter(|line| !line.is_empty()).collect();
    assert!(lines.len() >= 150, "{}", lines.len());
    let mut wrong = Vec::new();
    for line in lines {
        for text in [line.to_owned(), json(line), json(&json(line)), format!("say {line}\nand"), escaped(line)] {
            let masked = Redactor::default().mask(&text).into_owned();
            wrong.extend((masked != text).then(|| format!("{text}\n    {masked}")));
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn well_known_keys_are_masked_and_what_stands_around_stays() {
    for parts in [
        ["sk-ant-", "api03-abcDEF123_456-xyz"],
        ["sk-proj-", "abcDEF123_456-xyzabc"],
        ["sk-", "0123456789abcdef0123456789abcdef"],
        ["sk_live_", "0123456789abcdefghij"],
        ["AKIA", "IOSFODNN7EXAMPLE"],
        ["ASIA", "IOSFODNN7EXAMPLE"],
        ["ghp_", "0123456789abcdefghij0123456789abcdef"],
        ["github_pat_", "11ABCDEFG0123456789_abcdefghij"],
        ["glpat-", "0123456789abcdefghij"],
        ["xoxb-", "123456789012-123456789012-abcdefABCDEF"],
        ["xapp-", "1-A012345-6789-abcdef"],
        ["AIza", "SyA0123456789abcdefghijklmnopqrstuv"],
        ["ya29.", "a0AfH6SMBx0123456789abcdef"],
        ["npm_", "0123456789abcdefghijABCDEFGHIJ012345"],
        ["hf_", "abcdefghijklmnopqrstuvwxyzABCDEFGH"],
        ["SG.", "0123456789abcdefghijkl.0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"],
        ["eyJhbGciOiJIUzI1NiJ9.", "eyJzdWIiOiIxMjM0NSJ9.c2lnbmF0dXJlLWhlcmU"],
        ["eyJhbGciOiJub25lIn0.", "eyJzdWIiOiIxMjM0NSJ9."],
    ] {
        let key = parts.concat();
        check(&format!("the key is {key}, see"), "the key is [masked], see");
        check(&format!("x=\"{key}\""), "x=\"[masked]\"");
        check(&format!("({key})\n"), "([masked])\n");
        check(&format!("[1;31m{key}[0m"), "[1;31m[masked][0m");
        // `sk-` alone ends many words.
        let is_plain = parts[0] == "sk-";
        check(&format!("7{key}"), if is_plain { "7sk-0123456789abcdef0123456789abcdef" } else { "7[masked]" });
    }
}

#[test]
fn what_stands_around_a_named_value_stays() {
    for (text, expected) in [
        ("password=hunter", "password=[masked]"),
        ("gh auth --token abc123 && ls", "gh auth --token [masked] && ls"),
        ("api_key: 'abc'", "api_key: '[masked]'"),
        (r#"{"access_token": "a b\"c", "n": 1}"#, r#"{"access_token": "[masked]", "n": 1}"#),
        (r#"{\"client_secret\":\"a\\\"b\",\"n\":1}"#, r#"{\"client_secret\":\"[masked]\",\"n\":1}"#),
        ("{\"a\":\"password=\",\"b\":\"c\"}", "{\"a\":\"password=\",\"b\":\"c\"}"),
        ("https://x.test/cb?token=abc&state=1", "https://x.test/cb?token=[masked]&state=1"),
        ("AccountKey=abc/def+0==;Endpoint=x", "AccountKey=[masked];Endpoint=x"),
        ("password := \"ñandú\"", "password := \"[masked]\""),
        ("  password: hunter\n  user: me", "  password: [masked]\n  user: me"),
        ("postgres://user:p%40ss@db/x", "postgres://[masked]@db/x"),
        ("https://ghtoken@github.com/a/b", "https://[masked]@github.com/a/b"),
        ("ssh://git:pw@host/x", "ssh://[masked]@host/x"),
        ("Authorization: 0123abcd", "Authorization: [masked]"),
        ("key is $6$saltsalt$abcdefghijklmnopqrstuvwx.yz0123456789 x", "key is [masked] x"),
        // A number of JSON becomes a text, at whatever depth.
        ("{\"pin\": 493827}", "{\"pin\": \"[masked]\"}"),
        (r#"{\"pin\":493827,\"a\":1}"#, r#"{\"pin\":\"[masked]\",\"a\":1}"#),
    ] {
        check(text, expected);
    }
}

#[test]
fn private_keys_are_masked_whole_or_torn() {
    let lines = ["MIIEowIBAAKCAQEA0123456789abcdefghij", "abcdefghijklmnopqrstuvwxyz0123456789", "klmnopqrst=="];
    for kind in ["RSA PRIVATE", "PRIVATE", "OPENSSH PRIVATE", "ENCRYPTED PRIVATE", "EC PRIVATE"] {
        let key = format!("-----BEGIN {kind} KEY-----\n{}\n-----END {kind} KEY-----", lines.join("\n"));
        check(&format!("a {key} b"), "a [masked] b");
        check(&format!("a {} b", key.replace('\n', "\\n")), "a [masked] b");
        check(&format!("{{\"k\":{}}}", json(&key)), "{\"k\":\"[masked]\"}");
        let (torn, _) = key.split_once("\n-----END").unwrap();
        check(&format!("{torn}\n\nand more words"), "[masked]\n\nand more words");
        for prefix in ["+", "    ", "id_rsa:", "   12→", "a1b2c3d4 (dev 2026-01-01 1) "] {
            let torn = format!("{prefix}{}", torn.replace('\n', &format!("\n{prefix}")));
            assert!(!leaks(&mask(&format!("see:\n{torn}\n")), &lines[..2].join("\n")), "{torn}");
        }
        let (_, headless) = key.split_once("-----\n").unwrap();
        assert!(!leaks(&mask(headless), &lines[..2].join("\n")), "{headless}");
    }
    let putty =
        format!("PuTTY-User-Key-File-3: ssh-rsa\nPrivate-Lines: 2\n{}\n{}\nPrivate-MAC: ab", lines[0], lines[1]);
    check(&putty, "PuTTY-User-Key-File-3: ssh-rsa\nPrivate-Lines: 2\n[masked]\nPrivate-MAC: ab");
    check("`-----BEGIN PRIVATE KEY-----` is how it begins", "`[masked]` is how it begins");
    for public in ["-----BEGIN CERTIFICATE-----", "-----BEGIN PUBLIC KEY-----"] {
        let text = format!("{public}\n{}\n-----END", lines.join("\n"));
        check(&text, &text);
    }
}

#[test]
fn a_value_that_was_named_once_is_masked_everywhere() {
    let mut redactor = Redactor::default();
    let secret = "wJalrXUtnFEMI7MDENGbPxRfiCYEXAMPLEKEY9a";
    redactor.learn(&format!("AWS_SECRET_ACCESS_KEY={secret}"));
    redactor.learn("{\"name\": \"DB_PASSWORD\", \"value\": \"tr0ub4dor&3\"}");
    assert!(redactor.counts().is_empty());
    assert_eq!(bare(&redactor.mask(&format!("and {secret}, tr0ub4dor&3!"))), "and [masked], [masked]!");
    assert_eq!(in_words(redactor.counts()), "masked: 1 password, 1 secret");
    assert_eq!(
        in_words(&masks_in("[masked: token] x [masked: token] [masked: API key]")),
        "masked: 1 API key, 2 tokens"
    );
}

#[test]
fn a_token_that_a_terminal_broke_or_somebody_cut_is_masked() {
    let token = ["ghp_", "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5"].concat();
    for at in [8, 20, 36] {
        let (head, tail) = token.split_at(at);
        check(&format!("it is {head}\n{tail} there"), "it is [masked]\n[masked] there");
        check(&format!("it is {head}\n  │ {tail} there"), "it is [masked]\n  │ [masked] there");
        check(&format!("it is {head}…"), "it is [masked]…");
    }
    let mut redactor = Redactor::default();
    redactor.mask(&format!("{}\n{}", &token[..20], &token[20..]));
    assert_eq!(in_words(redactor.counts()), "masked: 1 GitHub token");
    check(&format!("export X={token}\nexport Y=1"), "export X=[masked]\nexport Y=1");
}

#[test]
fn a_mask_hides_nothing() {
    let token = ["ghp_", "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5"].concat();
    for text in [format!("[masked: {token}]"), format!("[masked: token {token}]"), format!("[masked: token{token}]")] {
        assert!(!leaks(&Redactor::default().mask(&text), &token), "{text}");
    }
}

#[test]
fn a_value_under_a_secret_name_is_masked_whole() {
    let mut redactor = Redactor::default();
    for (name, value, expected) in [
        ("apiKey", "anything at all", "[masked]"),
        ("apiKey", "", ""),
        ("command", "echo password=x1", "echo password=[masked]"),
        ("session_id", "8c1f04de-1f0d-4b6e-9d0c-3a1b2c3d4e5f", "8c1f04de-1f0d-4b6e-9d0c-3a1b2c3d4e5f"),
        ("key", "user_id", "user_id"),
    ] {
        assert_eq!(bare(&redactor.mask_named(name, value)), expected, "{name}");
    }
}

#[test]
fn no_input_breaks_it_and_json_stays_json() {
    proptest::proptest!(|(text in "(?s)(password|token|[=: \"'\\\\`]|://|@|-----BEGIN|PRIVATE KEY-----|eyJ|curl -u|%3D|&quot;|ghp_0123456789abcdef|ghp\\\\_a1|a\\*\\*b|\\PC|é|\n|.){0,40}")| {
        let masked = mask_any(&text);
        proptest::prop_assert!(masked.len() <= text.len() + 40 * text.len());
        let in_json = json(&text);
        let twice = json(&in_json);
        for json in [in_json, twice] {
            let masked = mask_any(&json);
            proptest::prop_assert!(serde_json::from_str::<String>(&masked).is_ok(), "{json}\n{masked}");
        }
    });
}

fn mask_any(text: &str) -> String {
    let mut redactor = Redactor::default();
    redactor.learn(text);
    redactor.mask(text).into_owned()
}

/// No text costs more than its length: a quadratic one would take minutes.
#[test]
fn the_time_is_linear() {
    let began = cpu_time();
    for piece in [
        "password=",
        "password=\"",
        "\\",
        "ghp_",
        "://a:",
        "eyJaaaaaaaa.",
        "[masked: ",
        "password is ",
        "curl -u ",
        "A",
        "%25",
        "-----BEGIN PRIVATE KEY-----\n",
        "<password>",
        "key: |\n  password: |\n",
        "Private-Lines: 99999\n",
        "password \n",
        "-----END PRIVATE KEY-----\n",
        "a1B2",
        "&#x26;",
        "secret value=",
        "login a password ",
        ":5432:a:",
        "mysql -p",
        "cookie: a=",
        "a**",
        "ghp\\_",
        "name,password\n",
        "a,password,",
        "|password|\n|--|\n",
        "insert into a(password) values('",
        "insert into a(password) values('x'),",
        "kind: Secret ",
        "kind: Secret\ndata:\n  ",
        "stringData:{",
        "WIFI:",
        "expect password send \"a",
        "net use \\\\a ",
        "echo a|pass insert ",
        "identified by '",
    ] {
        let text = piece.repeat(50_000 / piece.len());
        Redactor::default().mask(&text);
    }
    let took = cpu_time() - began;
    assert!(took.as_secs() < 60, "{took:?}");
}
