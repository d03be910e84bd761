//! The gRPC health protocol, version 1.
//!
//! Source: <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>

use http::Uri;
use hyper_util::rt::TokioIo;
use mainstay_config::EndpointUrl;
use mainstay_policy::health::Check;
use mainstay_tls::client::Speak;
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tower::service_fn;

use super::{Found, connect};

/// Asks for the health of `service`, or of the server as a whole.
pub(super) async fn health(address: &EndpointUrl, service: Option<&str>) -> Found {
    let endpoint = match Endpoint::from_shared(format!("http://{}", address.authority())) {
        Ok(endpoint) => endpoint,
        Err(error) => return Found::new(Check::Failed, error.to_string()),
    };
    let channel = match &address.tls {
        None => endpoint.connect().await,
        Some(_) => {
            let address = address.clone();
            let open = move |_: Uri| {
                let address = address.clone();
                async move { connect(&address, Speak::Http2).await.map(TokioIo::new) }
            };
            endpoint.connect_with_connector(service_fn(open)).await
        }
    };
    let channel = match channel {
        Ok(channel) => channel,
        Err(error) => return unreachable(&error),
    };
    let request = HealthCheckRequest { service: service.unwrap_or_default().to_owned() };
    match HealthClient::new(channel).check(request).await {
        Ok(answer) => said(answer.get_ref().status()),
        // The server does not know the service: it is not (or no more) registered.
        Err(status) if status.code() == Code::NotFound => {
            Found::new(Check::NotReady, "unknown service")
        }
        Err(status) => {
            Found::new(Check::Failed, format!("{:?}: {}", status.code(), status.message()))
        }
    }
}

fn said(status: ServingStatus) -> Found {
    match status {
        ServingStatus::Serving => Found::new(Check::Passed, "SERVING"),
        ServingStatus::NotServing => Found::new(Check::NotReady, "NOT_SERVING"),
        ServingStatus::Unknown | ServingStatus::ServiceUnknown => {
            Found::new(Check::NotReady, status.as_str_name())
        }
    }
}

/// The system's own error, where there is one at the bottom.
fn unreachable(error: &(dyn std::error::Error + 'static)) -> Found {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let system = cause.downcast_ref::<std::io::Error>();
    system.map_or_else(|| Found::new(Check::Refused, cause.to_string()), Found::unreachable)
}
