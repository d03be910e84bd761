//! Checks over gRPC: the health protocol, version 1, and whether models are ready.
//!
//! Source: <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>

use http::Uri;
use hyper_util::rt::TokioIo;
use mainstay_config::EndpointUrl;
use mainstay_policy::health::Check;
use mainstay_protocol::grpc::{self, Code as GrpcCode};
use mainstay_tls::client::Speak;
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tower::service_fn;

use super::{Found, ModelName, connect, rpc};

/// The most of an answer that is read, in bytes.
const BODY_LIMIT: usize = 4 * 1024;

/// `ModelReady`, or the server's own readiness.
///
/// Triton says that it does not know a model with an error; what is not known is not ready.
pub(super) async fn ready(address: &EndpointUrl, model: Option<&ModelName>) -> Found {
    let (path, message) = match model {
        Some(model) => {
            let version = model.version.as_deref().unwrap_or_default();
            (grpc::MODEL_READY, grpc::about_model(&model.name, version))
        }
        None => (grpc::SERVER_READY, grpc::frame(&[])),
    };
    let said = match rpc::call(address, path, message, BODY_LIMIT).await {
        Ok(said) => said,
        Err(found) => return found,
    };
    match (said.code, grpc::is_ready(&said.body)) {
        (GrpcCode::Ok, Ok(true)) => Found::new(Check::Passed, "ready"),
        (GrpcCode::Ok, Ok(false)) => Found::new(Check::NotReady, "not ready"),
        (GrpcCode::Ok, Err(error)) => Found::new(Check::Failed, error.to_string()),
        (GrpcCode::NotFound | GrpcCode::Unavailable | GrpcCode::InvalidArgument, _) => {
            Found::new(Check::NotReady, format!("{}: {}", said.code.as_str(), said.message))
        }
        (code, _) => Found::new(Check::Failed, format!("{}: {}", code.as_str(), said.message)),
    }
}

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
