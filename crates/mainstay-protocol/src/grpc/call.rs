//! Which call a path is.

/// A call of the services that the gateway knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `ServerLive`
    ServerLive,
    /// `ServerReady`
    ServerReady,
    /// `ModelReady`
    ModelReady,
    /// `ServerMetadata`
    ServerMetadata,
    /// `ModelMetadata`
    ModelMetadata,
    /// `ModelInfer`
    Infer,
    /// `ModelStreamInfer`, of Triton.
    StreamInfer,
    /// `ModelConfig` and `ModelStatistics`, of Triton: what servers say of a model.
    AboutModel,
    /// `RepositoryIndex`, of Triton.
    RepositoryIndex,
    /// `RepositoryModelLoad` and `RepositoryModelUnload`, of Triton.
    RepositoryChange,
    /// `grpc.health.v1.Health/Check`
    HealthCheck,
    /// `grpc.health.v1.Health/Watch`
    HealthWatch,
    /// `ServerReflectionInfo` of either version.
    Reflection,
}

impl Call {
    /// Every call with its path.
    pub const PATHS: [(&'static str, Self); 16] = [
        (super::INFER, Self::Infer),
        (super::STREAM_INFER, Self::StreamInfer),
        ("/inference.GRPCInferenceService/ServerLive", Self::ServerLive),
        ("/inference.GRPCInferenceService/ServerReady", Self::ServerReady),
        ("/inference.GRPCInferenceService/ModelReady", Self::ModelReady),
        ("/inference.GRPCInferenceService/ServerMetadata", Self::ServerMetadata),
        ("/inference.GRPCInferenceService/ModelMetadata", Self::ModelMetadata),
        ("/inference.GRPCInferenceService/ModelConfig", Self::AboutModel),
        ("/inference.GRPCInferenceService/ModelStatistics", Self::AboutModel),
        ("/inference.GRPCInferenceService/RepositoryIndex", Self::RepositoryIndex),
        ("/inference.GRPCInferenceService/RepositoryModelLoad", Self::RepositoryChange),
        ("/inference.GRPCInferenceService/RepositoryModelUnload", Self::RepositoryChange),
        ("/grpc.health.v1.Health/Check", Self::HealthCheck),
        ("/grpc.health.v1.Health/Watch", Self::HealthWatch),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Self::Reflection),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Self::Reflection),
    ];
}

/// The call that `path` is, or `None`.
#[must_use]
pub fn recognise(path: &str) -> Option<Call> {
    Call::PATHS.iter().find(|(known, _)| *known == path).map(|(_, call)| *call)
}
