//! A token is made once, kept closed, and refused when it is not.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::code::Code;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/mainstay/admin-token");
    (folder, path)
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_first_start_makes_a_token_that_only_its_owner_can_read() {
    let (_folder, path) = folder();
    let made = Token::load_or_create(&path).unwrap();
    assert_eq!(made.reveal().len(), 2 * RANDOM);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
    let beside: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(beside.len(), 1, "nothing is left beside it");
}

#[test]
fn later_starts_keep_it() {
    let (_folder, path) = folder();
    let made = Token::load_or_create(&path).unwrap();
    let kept = Token::load_or_create(&path).unwrap();
    assert_eq!(made.reveal(), kept.reveal());
}

#[test]
fn two_tokens_are_not_alike() {
    let ((_one, first), (_two, second)) = (folder(), folder());
    let first = Token::load_or_create(&first).unwrap();
    assert_ne!(first.reveal(), Token::load_or_create(&second).unwrap().reveal());
}

#[test]
fn a_file_that_others_can_use_is_refused_with_the_remedy() {
    for mode in [0o640, 0o604, 0o620, 0o666] {
        let (_folder, path) = folder();
        write(&path, &"a".repeat(64), mode);
        let error = Token::load_or_create(&path).unwrap_err();
        assert_eq!(error.code(), Code::TokenExposed, "{mode:o}");
        assert!(error.to_string().contains(&format!("chmod 600 {}", path.display())), "{error}");
    }
}

#[test]
fn a_token_of_the_operators_own_is_taken() {
    let (_folder, path) = folder();
    write(&path, &format!("  {}\n", "s3cret-".repeat(6)), 0o400);
    assert_eq!(Token::load_or_create(&path).unwrap().reveal(), "s3cret-".repeat(6));
}

#[test]
fn what_is_no_token_is_refused() {
    let wrong = ["", "short", &"a".repeat(513), &"two words ".repeat(5), &"\u{e9}".repeat(40)];
    for text in wrong {
        let (_folder, path) = folder();
        write(&path, text, 0o600);
        let error = Token::load_or_create(&path).unwrap_err();
        assert_eq!(error.code(), Code::TokenMalformed, "{text:?}");
    }
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let (_folder, path) = folder();
    write(&path, &"a".repeat(64), 0o600);
    let error = Token::load_or_create(&path.join("below-a-file")).unwrap_err();
    assert_eq!(error.code(), Code::TokenFile);
    assert!(error.to_string().contains("below-a-file"), "{error}");
}

#[test]
fn a_token_is_compared_whole_and_never_shown() {
    let token = Token::parse("0123456789abcdef0123456789abcdef".as_bytes()).unwrap();
    assert!(token.is(b"0123456789abcdef0123456789abcdef"));
    assert!(!token.is(b"0123456789abcdef0123456789abcdeF"));
    assert!(!token.is(b"0123456789abcdef"));
    assert!(!token.is(b""));
    assert_eq!(format!("{token:?}"), "Token(..)");
}
