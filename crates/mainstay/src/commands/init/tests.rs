//! Asking servers that speak just enough of the protocol.

use std::collections::HashMap;

use super::*;
use mainstay_protocol::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const FRAUD: &str = r#"{"name":"fraud","platform":"onnx","inputs":[{"name":"x","datatype":"FP32","shape":[-1,30]}],
    "outputs":[{"name":"label","datatype":"INT64","shape":[-1]},{"name":"probabilities","datatype":"FP32","shape":[-1,2]}]}"#;
const SPAM: &str = r#"{"name":"spam","outputs":[{"name":"0","datatype":"BYTES","shape":[1]}]}"#;

/// A server that answers the given paths and 404 otherwise; its URL.
async fn server(answers: &[(&str, &str)]) -> (EndpointUrl, JoinHandle<()>) {
    let answers: HashMap<String, String> =
        answers.iter().map(|(path, body)| ((*path).to_owned(), (*body).to_owned())).collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/base", listener.local_addr().unwrap()).parse().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                if stream.read_buf(&mut head).await.unwrap() == 0 {
                    break;
                }
            }
            let head = String::from_utf8(head).unwrap();
            let path = head.split(' ').nth(1).unwrap_or_default();
            let path = path.strip_prefix("/base").unwrap_or_default();
            let (status, body) = answers.get(path).map_or(("404 Not Found", ""), |b| ("200 OK", b));
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, task)
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn servers_with_the_same_model_make_a_pool() {
    run(async {
        let index = r#"[{"name":"fraud","version":"1","state":"READY"},{"name":"old","state":"UNAVAILABLE"}]"#;
        let both = r#"[{"name":"fraud"},{"name":"spam"}]"#;
        let (a, _a) = server(&[
            ("/v2", r#"{"name":"triton","version":"2"}"#),
            ("/v2/repository/index", index),
            ("/v2/models/fraud", FRAUD),
        ])
        .await;
        let (b, _b) = server(&[
            ("/v2", r#"{"name":"triton"}"#),
            ("/v2/repository/index", both),
            ("/v2/models/fraud", FRAUD),
            ("/v2/models/spam", SPAM),
        ])
        .await;
        let servers = ask::servers(&[a.clone(), b.clone(), a.clone()], &[], SECOND).await.unwrap();
        let text = write::configuration(&servers);
        let config = Config::parse("t", &text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        let pools: Vec<_> =
            config.pools.iter().map(|pool| (&*pool.name, pool.endpoints.len())).collect();
        assert_eq!(pools, [("fraud", 2), ("spam", 1)]);
        assert_eq!(config.pools[0].endpoints[1].url, b);
        assert_eq!(config.models[0].outputs.len(), 2);
        assert_eq!(config.models[1].outputs[0].name, "0");
        assert!(config.warnings.is_empty());
        assert!(text.contains("flavour: triton") && text.contains("# batch: first-dimension"));
    });
}

#[test]
fn servers_without_an_index_need_names() {
    run(async {
        let (url, _server) = server(&[("/v2", "{}"), ("/v2/models/fraud", FRAUD)]).await;
        let urls = [url];
        let error = ask::servers(&urls, &[], SECOND).await.unwrap_err().to_string();
        assert!(error.contains("--model NAME"), "{error}");
        let error = ask::servers(&urls, &["spam".into()], SECOND).await.unwrap_err().to_string();
        assert!(error.contains("none of the models spam"), "{error}");
        let servers = ask::servers(&urls, &["fraud".into()], SECOND).await.unwrap();
        assert!(Config::parse("t", &write::configuration(&servers)).is_ok());
    });
}

#[test]
fn every_server_that_fails_is_named() {
    run(async {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = |listener: &TcpListener| -> EndpointUrl {
            format!("http://{}", listener.local_addr().unwrap()).parse().unwrap()
        };
        let urls = [url(&gone), url(&silent)];
        drop(gone);
        let limit = Duration::from_millis(50);
        let error = ask::servers(&urls, &[], limit).await.unwrap_err().to_string();
        assert!(urls.iter().all(|url| error.contains(&url.to_string())), "{error}");
        assert!(error.contains("no answer to /v2 within 50ms"), "{error}");
    });
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mainstay.yaml");
    create(&path, "a").unwrap();
    assert!(create(&path, "b").unwrap_err().to_string().contains("exists already"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a");
}

#[test]
fn servers_of_other_protocols_are_recognised() {
    run(async {
        let status = r#"{"model_version_status":[{"version":"1","state":"AVAILABLE"}]}"#;
        let metadata = r#"{"model_spec":{"name":"m"},"metadata":{"signature_def":{"signature_def":
            {"serving_default":{
                "inputs":{"x":{"dtype":"DT_FLOAT","tensor_shape":{"dim":[{"size":"-1"},{"size":"4"}]}}},
                "outputs":{"y":{"dtype":"DT_INT64","tensor_shape":{"dim":[{"size":"-1"}]}}}}}}}}"#;
        let (tf, _tf) =
            server(&[("/v1/models/m", status), ("/v1/models/m/metadata", metadata)]).await;
        let (torch, _torch) = server(&[("/ping", r#"{"status":"Healthy"}"#)]).await;
        let servers = ask::servers(&[tf], &["m".into()], SECOND).await.unwrap();
        let text = write::configuration(&servers);
        let config = Config::parse("t", &text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        assert_eq!(config.pools[0].protocol, Protocol::V1);
        let declared = (&config.models[0].inputs[0].name, &config.models[0].outputs[0].name);
        assert_eq!(declared, (&"x".to_owned(), &"y".to_owned()));
        let urls = [torch];
        let error = ask::servers(&urls, &[], SECOND).await.unwrap_err().to_string();
        assert!(error.contains("TorchServe"), "{error}");
        let servers = ask::servers(&urls, &["cats".into()], SECOND).await.unwrap();
        let config = Config::parse("t", &write::configuration(&servers)).unwrap();
        assert_eq!(config.pools[0].protocol, Protocol::TorchServe);
    });
}
