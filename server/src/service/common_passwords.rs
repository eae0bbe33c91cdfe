//! The most common passwords, and the usual ways to stretch them to twelve characters.

/// Words in common passwords, in lower case, from public lists of leaked passwords.
const WORDS: [&str; 76] = [
    "password",
    "passwort",
    "motdepasse",
    "contrasena",
    "wachtwoord",
    "haslo",
    "parola",
    "senha",
    "qwerty",
    "qwertz",
    "azerty",
    "qwertyuiop",
    "qwertyuiopasdfghjkl",
    "asdfgh",
    "asdfghjkl",
    "yxcvbnm",
    "zxcvbnm",
    "zxcvbn",
    "1q2w3e4r",
    "1qaz2wsx",
    "letmein",
    "welcome",
    "willkommen",
    "bienvenue",
    "admin",
    "administrator",
    "root",
    "login",
    "master",
    "changeme",
    "secret",
    "geheim",
    "iloveyou",
    "ichliebedich",
    "jetaime",
    "tequiero",
    "monkey",
    "dragon",
    "football",
    "baseball",
    "basketball",
    "liverpool",
    "chelsea",
    "arsenal",
    "barcelona",
    "sunshine",
    "princess",
    "superman",
    "batman",
    "pokemon",
    "starwars",
    "trustno",
    "whatever",
    "freedom",
    "michael",
    "jordan",
    "jennifer",
    "charlie",
    "shadow",
    "summer",
    "sommer",
    "winter",
    "spring",
    "autumn",
    "school",
    "schule",
    "lehrer",
    "teacher",
    "student",
    "hallo",
    "hello",
    "test",
    "microsoft",
    "outlook",
    "office",
    "entrepost",
];

fn letter(c: char) -> char {
    match c {
        '0' => 'o',
        '1' | '!' | '|' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        c => c,
    }
}

/// Whether a password is among the most common ones.
pub fn is_common(password: &str) -> bool {
    let lower: String =
        password.trim().to_lowercase().chars().filter(|c| c.is_alphanumeric() || "!@$|".contains(*c)).collect();
    // Digits and signs around a word are a year or an exclamation mark, not replaced letters.
    let core = lower.trim_matches(|c: char| !c.is_alphabetic());
    is_run(&lower)
        || is_made_of(&lower)
        || is_made_of(&core.chars().map(letter).collect::<String>())
        || is_made_of(&lower.chars().map(letter).collect::<String>())
}

/// A sequence of the keyboard or the alphabet, or a repeated short piece.
fn is_run(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    let steps = chars.windows(2).map(|pair| i64::from(u32::from(pair[1])) - i64::from(u32::from(pair[0])));
    let runs = steps.filter(|step| (-1..=1).contains(step)).count();
    let short =
        (1..=3).any(|length| chars.len() > length && chars.iter().zip(chars.iter().skip(length)).all(|(a, b)| a == b));
    short || runs * 10 >= chars.len() * 8
}

/// Only common words and digits.
fn is_made_of(text: &str) -> bool {
    let mut rest = text;
    let mut found = false;
    while !rest.is_empty() {
        let word = WORDS.iter().filter(|word| rest.starts_with(**word)).max_by_key(|word| word.len());
        let padding = rest.find(|c: char| c.is_alphabetic()).unwrap_or(rest.len());
        match (word, padding) {
            (Some(word), _) => {
                found = true;
                rest = &rest[word.len()..];
            }
            (None, 0) => return false,
            (None, padding) => rest = &rest[padding..],
        }
    }
    found || text.chars().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::is_common;

    #[test]
    fn what_everybody_tries_is_common_and_words_in_a_row_are_not() {
        for common in [
            "password1234",
            "Password2026!",
            "P@ssw0rd2026",
            "passwordpassword",
            "qwertyuiop12",
            "123456789012",
            "abcdefghijkl",
            "administrator",
            "Welcome12345",
            "letmeinletmein",
            "aaaaaaaaaaaaaa",
            "abcabcabcabc",
            "111111111111",
            "987654321098",
            "iloveyou2026",
            "Passwort1234",
            "hello hello 12",
            "qwertz123456",
        ] {
            assert!(is_common(common), "{common}");
        }
        for good in [
            "demo demo demo",
            "correct horse battery",
            "violet lamp on thursday",
            "Tr7!kq0zPm2#",
            "my dog eats paper",
            "zwölf blaue hefte",
            "教室の窓から見える山",
        ] {
            assert!(!is_common(good), "{good}");
        }
    }
}
