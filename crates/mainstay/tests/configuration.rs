//! `mainstay check`, `schema` and `init` as processes: what they print and return.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/digits-logistic.onnx");

const FIVE_FAULTS: &str = "\
listen: {htp: 0.0.0.0:8080}
pools:
  p: {endpoints: [ftp://a:1], connect-timeout: 10}
models:
  m: {chain: [{pool: q}], attempts: [3]}
";

fn mainstay(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mainstay")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A file in a folder that is gone with the test.
fn file(folder: &tempfile::TempDir, name: &str, content: &str) -> String {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn five_faults_make_five_messages_and_exit_code_two() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "mainstay.yaml", FIVE_FAULTS);
    let output = mainstay(&["check", &path]);
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    assert_eq!(told.matches("error[MS").count(), 5, "{told}");
    assert!(text(&output.stdout).starts_with("refused: "));

    let output = mainstay(&["check", &path, "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let list: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let codes: Vec<_> = list.iter().map(|fault| fault["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["MS0103", "MS0105", "MS0105", "MS0108", "MS0104"]);
    assert_eq!((&list[0]["line"], &list[0]["column"]), (&1.into(), &10.into()));
    assert_eq!(list[0]["help"], "did you mean \"http\"?");

    let output = mainstay(&["serve", "--config", &path]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stderr).matches("error[MS").count(), 5);
}

#[test]
fn the_example_is_accepted() {
    let example = mainstay(&["schema", "--example"]);
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "mainstay.yaml", &text(&example.stdout));
    let output = mainstay(&["check", &path]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).ends_with("1 model, 1 pool, 2 endpoints, 1 warning\n"));
    let schema: serde_json::Value = serde_json::from_slice(&mainstay(&["schema"]).stdout).unwrap();
    assert_eq!(schema["additionalProperties"], false);
}

/// A model server, killed with the test.
struct Server(Child, String);

impl Server {
    fn start(models: &[&str]) -> Self {
        let models = models.iter().flat_map(|name| ["--model".into(), format!("{name}={MODEL}")]);
        let mut child = Command::new(env!("CARGO_BIN_EXE_mainstay"))
            .args(["model-server", "--listen", "127.0.0.1:0"])
            .args(models)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().trim_start_matches("mainstay: listening on ").to_owned();
        Self(child, url)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_first_configuration_comes_from_the_servers() {
    let (one, two) = (Server::start(&["digits", "other"]), Server::start(&["digits"]));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mainstay.yaml");
    let arguments = ["init", &one.1, &two.1, "--output", path.to_str().unwrap()];
    let output = mainstay(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_accepted(&path);
    assert_eq!(mainstay(&arguments).status.code(), Some(1), "it must not overwrite");
}

/// Two models, one of them on both servers, without a warning.
fn assert_accepted(path: &Path) {
    let output = mainstay(&["check", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).ends_with("2 models, 2 pools, 3 endpoints, 0 warnings\n"));
    assert!(fs::read_to_string(path).unwrap().contains("probabilities: {datatype: FP32"));
}
