//! What a model server says of itself: its name, its models, their tensors.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, StatusCode};
use mainstay_config::EndpointUrl;
use mainstay_protocol::oip::path::model_path;
use mainstay_protocol::oip::{metadata, repository};
use mainstay_protocol::{Called, Protocol, v1};

use crate::commands::exchange::exchange;

/// What one server said.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) url: EndpointUrl,
    /// Its name for itself, for example `triton`; empty when it did not say.
    pub(super) kind: String,
    /// What it speaks.
    pub(super) protocol: Protocol,
    /// In the order of their names.
    pub(super) models: Vec<metadata::Model>,
}

/// Asks all servers; every one that cannot be asked is named in the error.
pub(super) async fn servers(
    urls: &[EndpointUrl],
    models: &[String],
    timeout: Duration,
) -> anyhow::Result<Vec<Server>> {
    let mut servers: Vec<Server> = Vec::new();
    let mut failures = Vec::new();
    for url in urls {
        if servers.iter().any(|server| server.url == *url) {
            continue;
        }
        match server(&Client { url, timeout }, models).await {
            Ok(server) => servers.push(server),
            Err(error) => failures.push(format!("{url}: {error:#}")),
        }
    }
    if failures.is_empty() { Ok(servers) } else { Err(anyhow!(failures.join("\n"))) }
}

async fn server(client: &Client<'_>, named: &[String]) -> anyhow::Result<Server> {
    let found = oip_server(client, named).await;
    if found.is_ok() {
        return found;
    }
    // What it does not say in one protocol it may say in another.
    for (protocol, models) in [
        (Protocol::V1, v1_models(client, named).await?),
        (Protocol::TorchServe, torchserve_models(client, named).await?),
    ] {
        if !models.is_empty() {
            return Ok(Server { url: client.url.clone(), kind: String::new(), protocol, models });
        }
    }
    found
}

/// The models of a server of the V1 protocol: those that KServe lists, and those that are named.
/// TensorFlow Serving tells their tensors.
async fn v1_models(client: &Client<'_>, named: &[String]) -> anyhow::Result<Vec<metadata::Model>> {
    // Why it cannot be asked at all was said of the first protocol.
    let Ok(listed) = client.get("/v1/models").await else { return Ok(Vec::new()) };
    let listed = listed.and_then(|body| v1::status::read_list(&body)).unwrap_or_default();
    let names: BTreeSet<String> = listed.into_iter().chain(named.iter().cloned()).collect();
    let mut models = Vec::new();
    for name in names {
        let path = |tail| {
            v1::path::model_path("", &Called { model: Cow::Borrowed(&name), version: None, tail })
        };
        let Some(status) = client.get(&path("")).await? else { continue };
        if v1::status::is_ready(&status).is_none() {
            continue;
        }
        let said = client.get(&path("/metadata")).await?;
        let said = said.and_then(|body| v1::metadata::parse(&body)).unwrap_or_default();
        models.push(metadata::Model { name, ..said });
    }
    Ok(models)
}

/// The models that are named, where a TorchServe answers: its list is another port's.
async fn torchserve_models(
    client: &Client<'_>,
    named: &[String],
) -> anyhow::Result<Vec<metadata::Model>> {
    let Ok(Some(body)) = client.get("/ping").await else { return Ok(Vec::new()) };
    let said: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    if said["status"].as_str() != Some("Healthy") {
        return Ok(Vec::new());
    }
    if named.is_empty() {
        bail!("it is a TorchServe, which lists no models here; name them with --model NAME");
    }
    let model = |name: &String| metadata::Model { name: name.clone(), ..Default::default() };
    Ok(named.iter().map(model).collect())
}

async fn oip_server(client: &Client<'_>, named: &[String]) -> anyhow::Result<Server> {
    let kind = client.get("/v2").await?.map(|body| metadata::parse_server(&body));
    let mut names = index(client).await?;
    if names.is_empty() && named.is_empty() {
        bail!("it lists no models; name them with --model NAME");
    }
    let indexed = names.clone();
    names.extend(named.iter().cloned());
    let mut models = Vec::new();
    for name in &names {
        let path = model_path("", name, None, "");
        match client.get(&path).await? {
            Some(body) => models.push(
                metadata::parse_model(&body).with_context(|| format!("metadata of {name:?}"))?,
            ),
            None if indexed.contains(name) => {
                eprintln!("mainstay: {}: {name:?} has no metadata, left out", client.url)
            }
            None => {}
        }
    }
    if models.is_empty() {
        bail!("it has none of the models {}", names.into_iter().collect::<Vec<_>>().join(", "));
    }
    let kind = kind.and_then(Result::ok).map(|server| server.name).unwrap_or_default();
    Ok(Server { url: client.url.clone(), kind, protocol: Protocol::Oip, models })
}

/// The models in a server's index that are ready or may be; none when it keeps no index.
async fn index(client: &Client<'_>) -> anyhow::Result<BTreeSet<String>> {
    let request = client.request(Method::POST, "/v2/repository/index", "{}")?;
    let Some(body) = client.send(request).await? else { return Ok(BTreeSet::new()) };
    let entries = repository::parse(&body).context("the index of its models")?;
    let usable = entries.into_iter().filter(|entry| {
        !matches!(entry.state, Some(repository::State::Unavailable | repository::State::Unloading))
    });
    Ok(usable.map(|entry| entry.name).collect())
}

/// One server, asked with a time limit.
struct Client<'a> {
    url: &'a EndpointUrl,
    timeout: Duration,
}

impl Client<'_> {
    async fn get(&self, path: &str) -> anyhow::Result<Option<Bytes>> {
        self.send(self.request(Method::GET, path, "")?).await
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: &'static str,
    ) -> anyhow::Result<Request<Full<Bytes>>> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url.prefix))
            .header(hyper::header::HOST, self.url.authority())
            .header(hyper::header::CONTENT_TYPE, "application/json")
            .body(Full::from(body))?;
        Ok(request)
    }

    /// The body of a good answer; `None` for what the server does not have.
    async fn send(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Option<Bytes>> {
        let path = request.uri().path().to_owned();
        let answer = exchange(self.url, self.timeout, request).await?;
        match answer.status() {
            StatusCode::OK => Ok(Some(answer.into_body())),
            status if status.is_client_error() || status == StatusCode::NOT_IMPLEMENTED => Ok(None),
            status => bail!("{path} was answered with {status}"),
        }
    }
}
