//! `mainstay model-server` as a process: what it prints, answers and returns.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/digits-logistic.onnx");

fn model_server(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command.arg("model-server").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A server process, killed with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Starts a server on a free port; the address is what it prints.
fn start(arguments: &[&str]) -> (Process, String) {
    let listen = ["--listen", "127.0.0.1:0"];
    let mut process = Process(model_server(&[arguments, &listen].concat()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("mainstay: listening on http://");
    (process, address.unwrap_or_else(|| panic!("it printed {line:?}")).to_owned())
}

/// The whole answer to a GET, as text.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn it_serves_until_sigterm() {
    let (mut process, address) = start(&["--model", &format!("digits={MODEL}")]);
    assert!(get(&address, "/v2/models/digits/ready").starts_with("HTTP/1.1 200 OK"));
    kill_process(Pid::from_child(&process.0), Signal::TERM).unwrap();
    assert_eq!(process.0.wait().unwrap().code(), Some(0));
}

#[test]
fn a_model_that_cannot_be_loaded_is_told_and_the_rest_is_served() {
    let broken = "broken=/nowhere/broken.onnx";
    let (mut process, address) = start(&["--model", &format!("digits={MODEL}"), "--model", broken]);
    assert!(get(&address, "/v2/models/broken/ready").starts_with("HTTP/1.1 400"));
    assert!(get(&address, "/v2/models/digits/ready").starts_with("HTTP/1.1 200"));
    let mut line = String::new();
    BufReader::new(process.0.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("mainstay: the model broken is not ready: "), "{line}");
}

#[test]
fn wrong_arguments_are_refused_with_2() {
    let digits = format!("digits={MODEL}");
    for (arguments, word) in [
        (vec![], "--model"),
        (vec!["--model", "digits"], "NAME=FILE"),
        (vec!["--model", &digits, "--model", &digits], "given twice"),
        (vec!["--model", &digits, "--engine", "onnxruntime"], "--library"),
        (vec!["--model", &digits, "--threads", "0"], "--threads"),
    ] {
        let output = model_server(&arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
    }
}
