//! Paths by example; the properties over random paths are in `tests/properties.rs`.

use super::*;

fn infer<'a>(model: &'a str, version: Option<&'a str>) -> Option<Call<'a>> {
    Some(Call::Infer { model: model.into(), version: version.map(Cow::from) })
}

#[test]
fn every_path_of_the_protocol_is_recognised() {
    let (model, version) = (Cow::from("m"), Some(Cow::from("1")));
    let expected = [
        ("/v2", Call::ServerMetadata),
        ("/v2/", Call::ServerMetadata),
        ("/v2/health/live", Call::ServerLive),
        ("/v2/health/ready", Call::ServerReady),
        ("/v2/repository/index", Call::RepositoryIndex),
        ("/v2/repository/models/m/load", Call::RepositoryLoad { model: model.clone() }),
        ("/v2/repository/models/m/unload", Call::RepositoryUnload { model: model.clone() }),
        ("/v2/models/m", Call::ModelMetadata { model: model.clone(), version: None }),
        ("/v2/models/m/", Call::ModelMetadata { model: model.clone(), version: None }),
        ("/v2/models/m/ready", Call::ModelReady { model: model.clone(), version: None }),
        ("/v2/models/m/infer", Call::Infer { model: model.clone(), version: None }),
        (
            "/v2/models/m/versions/1",
            Call::ModelMetadata { model: model.clone(), version: version.clone() },
        ),
        (
            "/v2/models/m/versions/1/ready",
            Call::ModelReady { model: model.clone(), version: version.clone() },
        ),
        (
            "/v2/models/m/versions/1/infer",
            Call::Infer { model: model.clone(), version: version.clone() },
        ),
        ("/v2/models/m/versions/1/stats", Call::Other { model, version, tail: "stats" }),
    ];
    for (path, call) in expected {
        assert_eq!(recognise(path), Some(call), "{path}");
    }
}

#[test]
fn what_is_below_a_model_keeps_its_tail() {
    let call = recognise("/v2/models/llm/generate_stream").unwrap();
    assert_eq!(call, Call::Other { model: "llm".into(), version: None, tail: "generate_stream" });
    assert_eq!((call.model(), call.version()), (Some("llm"), None));
    let tail = recognise("/v2/models/llm/a/b%2Fc").unwrap();
    assert_eq!(tail, Call::Other { model: "llm".into(), version: None, tail: "a/b%2Fc" });
}

#[test]
fn everything_else_is_not() {
    let paths = [
        "",
        "/",
        "/v1/models/m",
        "/v22",
        "/v2/models",
        "/v2/models/",
        "/v2/models//infer",
        "/v2/models/m/versions/",
        "/v2/models/m/versions//infer",
        "/v2/health",
        "/v2/health/live/",
        "/v2/repository/models/m",
        "/v2/repository/models/m/load/now",
    ];
    for path in paths {
        assert_eq!(recognise(path), None, "{path}");
    }
}

#[test]
fn encoded_names_are_decoded_and_plain_ones_borrowed() {
    assert_eq!(recognise("/v2/models/a%2Fb%20c/infer"), infer("a/b c", None));
    assert_eq!(recognise("/v2/models/m/versions/1%2E0/infer"), infer("m", Some("1.0")));
    assert!(matches!(
        recognise("/v2/models/plain/infer"),
        Some(Call::Infer { model: Cow::Borrowed("plain"), version: None })
    ));
    assert_eq!(recognise("/v2/models/%FF/infer"), None);
}

#[test]
fn nobody_climbs_out_of_the_models() {
    for path in [
        "/v2/models/../infer",
        "/v2/models/%2e%2E/infer",
        "/v2/models/./infer",
        "/v2/models/m/versions/../infer",
        "/v2/models/m/../../repository/models/x/unload",
        "/v2/models/m/stats/%2e%2e/x",
    ] {
        assert_eq!(recognise(path), None, "{path}");
    }
}

#[test]
fn paths_are_built_with_encoded_names() {
    assert_eq!(model_path("", "m", None, "infer"), "/v2/models/m/infer");
    assert_eq!(model_path("/base", "m", Some("1.0"), ""), "/base/v2/models/m/versions/1.0");
    assert_eq!(model_path("", "a/b c?", None, "ready"), "/v2/models/a%2Fb%20c%3F/ready");
}

#[test]
fn an_encoded_slash_leads_nowhere_else() {
    assert_eq!(recognise("/v2/models/a/..%2f..%2fmodels%2fb%2finfer"), None);
    assert_eq!(recognise("/v2/models/a%2f..%2fb/infer"), None);
    assert_eq!(recognise("/v2/models/a/x%5c..%5cy"), None);
    assert!(recognise("/v2/models/team%2fmodel/infer").is_some());
}
