//! What an operator is told: golden output, traps, includes, secrets, pages.

use std::fs;
use std::path::{Path, PathBuf};

use mainstay_config::{Check, Code, Config, Endpoint, render_graphical};

const FIVE_FAULTS: &str = include_str!("five_faults.yaml");

/// A valid file around the fragments under test.
const POOL: &str = "pools: {p: {endpoints: [http://a:1]}}\n";

/// The codes of a text's faults, in the order of its lines.
fn codes(text: &str) -> Vec<Code> {
    match Config::parse("test.yaml", text) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.faults().iter().map(|fault| fault.code()).collect(),
    }
}

/// A model with this body and a sound pool `p`.
fn model(body: &str) -> String {
    format!("{POOL}models:\n  m: {{{body}}}\n")
}

/// A pool with this body, used by a sound model.
fn pool(body: &str) -> String {
    format!(
        "pools:\n  p: {{endpoints: [http://a:1], {body}}}\nmodels: {{m: {{chain: [{{pool: p}}]}}}}\n"
    )
}

#[test]
fn five_faults_make_five_messages() {
    let errors = Config::parse("mainstay.yaml", FIVE_FAULTS).unwrap_err();
    assert_eq!(errors.faults().len(), 5);
    insta::assert_snapshot!("five_faults_plain", errors.to_string());
    insta::assert_snapshot!("five_faults_graphical", render_graphical(errors.faults(), 100, false));
}

#[test]
fn a_short_file_is_enough() {
    let config = Config::parse("short.yaml", &model("chain: [{pool: p}]")).unwrap();
    assert_eq!(config.models[0].deadline.as_secs(), 10);
    assert_eq!(config.pools[0].endpoints[0].url.authority(), "a:1");
    assert!(config.warnings.is_empty());
}

#[test]
fn traps_of_redundancy_are_refused() {
    for (body, expected) in [
        ("active: all", vec![]),
        ("active: 1", vec![]),
        ("active: 0", vec![Code::BadValue]),
        ("active: some", vec![Code::BadValue]),
        ("active: 2", vec![Code::Contradiction]),
        ("active: {min: 1}", vec![]),
        ("active: {min: 2, max: 1}", vec![Code::Contradiction]),
        ("active: {min: 1, above: 50%, below: 60%}", vec![Code::Contradiction]),
        ("mode: manual", vec![]),
        ("exclusive: false", vec![]),
        ("exclusive: true", vec![Code::Unsupported]),
        ("warm: {load: repository, unload: off}", vec![]),
        ("warm: {load: {path: \"/load/{model}\"}}", vec![]),
        ("warm: {load: off}", vec![Code::BadValue]),
        ("warm: {load: {method: PUT}}", vec![Code::Missing]),
        ("warm: {load: {path: load}}", vec![Code::BadValue]),
        ("failback: {mode: manual, stable-for: 1s, windows: [Mon-Fri 08:00-18:00]}", vec![]),
        ("failback: {windows: [at night]}", vec![Code::BadValue]),
        ("failback: {damping: {reuse: 2}}", vec![Code::Contradiction]),
    ] {
        assert_eq!(codes(&pool(body)), expected, "{body}");
    }
    let marked = "pools: {p: {endpoints: [{url: http://a:1, standby: hot}]}}\n\
                  models: {m: {chain: [{pool: p}]}}\n";
    assert_eq!(codes(marked), [Code::Contradiction]);
}

#[test]
fn traps_of_protocols_are_refused() {
    let spoken = |protocols: &[&str], model: &str| {
        let pool = |(at, protocol): (usize, &&str)| {
            format!("  p{at}: {{protocol: {protocol}, endpoints: [http://a:{}]}}\n", at + 1)
        };
        let pools: String = protocols.iter().enumerate().map(pool).collect();
        let steps: Vec<_> = (0..protocols.len()).map(|at| format!("{{pool: p{at}}}")).collect();
        let model = model.replace("POOLS", &steps.join(", "));
        codes(&format!("pools:\n{pools}models:\n  m: {{{model}}}\n"))
    };
    let tensors = "inputs: {x: {datatype: FP32, shape: [-1, 2]}}, \
                   outputs: {y: {datatype: FP32, shape: [-1]}}";
    let half = tensors.replace("FP32, shape: [-1]", "FP16, shape: [-1]");
    let b64 = tensors.replace("x:", "b64:");
    for (protocols, model, expected) in [
        (&["v1"][..], "chain: [POOLS]".to_owned(), vec![]),
        (&["v1", "oip"], "chain: [POOLS]".to_owned(), vec![Code::Undeclared, Code::Undeclared]),
        (&["v1", "oip"], format!("{tensors}, chain: [POOLS]"), vec![]),
        (&["v1", "oip"], format!("{half}, chain: [POOLS]"), vec![Code::Untranslatable]),
        (&["oip", "v1"], format!("{b64}, chain: [POOLS]"), vec![Code::Untranslatable]),
        (&["v1"], "guards: {finite: true}, chain: [POOLS]".to_owned(), vec![Code::Undeclared]),
        (&["oip", "torchserve"], "chain: [POOLS]".to_owned(), vec![Code::Apart]),
        (&["torchserve"], "chain: [POOLS, {last-good: 1m}]".to_owned(), vec![Code::Apart]),
        (&["torchserve"], "chain: [POOLS, {default: {json: [1, null]}}]".to_owned(), vec![]),
        (
            &["torchserve"],
            "chain: [POOLS, {default: {y: 1}}]".to_owned(),
            vec![Code::DefaultMisfit, Code::DefaultMisfit],
        ),
        (
            &["torchserve"],
            "chain: [POOLS, {default: {body: a, content-type: b}}]".to_owned(),
            vec![Code::DefaultMisfit],
        ),
        (&["http"], "chain: [POOLS]".to_owned(), vec![Code::Paths]),
        (&["oip"], "paths: [/a], chain: [POOLS]".to_owned(), vec![Code::Paths]),
        (&["http"], "paths: [/a, \"/b/*\", \"/*\"], chain: [POOLS]".to_owned(), vec![]),
        (&["http"], "paths: [/a, /a], chain: [POOLS]".to_owned(), vec![Code::Paths]),
        (&["http"], "paths: [a], chain: [POOLS]".to_owned(), vec![Code::Paths]),
        (&["http"], "paths: [\"/a*\"], chain: [POOLS]".to_owned(), vec![Code::Paths]),
        (&["http"], "paths: [/a/../b], chain: [POOLS]".to_owned(), vec![Code::Paths]),
        (&["http"], "paths: [/v2/x], chain: [POOLS]".to_owned(), vec![Code::Paths]),
        (&["http"], "paths: [/ping], chain: [POOLS]".to_owned(), vec![Code::Paths]),
        (
            &["http"],
            "paths: [/a], methods: [post], chain: [POOLS]".to_owned(),
            vec![Code::BadValue],
        ),
    ] {
        assert_eq!(spoken(protocols, &model), expected, "{protocols:?} {model}");
    }
    let renamed = "pools: {p: {protocol: http, endpoints: [http://a:1]}}\n\
                   models: {m: {paths: [/a], chain: [{pool: p, model: n}]}}\n";
    assert_eq!(codes(renamed), [Code::Apart]);
}

#[test]
fn each_protocol_has_a_check_and_a_word_on_repeating() {
    let of = |protocol: &str| {
        let paths = if protocol == "http" { "paths: [/a], " } else { "" };
        let text = format!(
            "pools: {{p: {{protocol: {protocol}, endpoints: [http://a:1]}}}}\n\
             models: {{m: {{{paths}chain: [{{pool: p}}]}}}}\n"
        );
        let config = Config::parse("test.yaml", &text).unwrap_or_else(|it| panic!("{it}"));
        (config.pools[0].probe.check.clone(), config.models[0].repeatable)
    };
    assert_eq!(of("oip"), (Check::OipReady, true));
    assert_eq!(of("v1"), (Check::V1Ready, true));
    assert_eq!(of("torchserve"), (Check::Ping, true));
    assert_eq!(of("http"), (Check::Tcp { port: None }, false));
}

#[test]
fn traps_of_limits_queues_and_priorities_are_refused() {
    for (body, expected) in [
        ("concurrency: off", vec![]),
        ("concurrency: on", vec![Code::BadValue]),
        ("concurrency: {max: 50}", vec![]),
        ("concurrency: {max: 2}", vec![]),
        ("concurrency: {min: 300, max: 400}", vec![]),
        ("concurrency: {initial: 5000}", vec![Code::Contradiction]),
        ("concurrency: {min: 9, max: 8}", vec![Code::Contradiction]),
        ("concurrency: {min: 0}", vec![Code::BadValue]),
        ("concurrency: {adaptive: false, max: 8}", vec![]),
        ("concurrency: {adaptive: false}", vec![Code::Missing]),
        ("concurrency: {adaptive: false, max: 8, min: 2}", vec![Code::Contradiction]),
    ] {
        assert_eq!(codes(&pool(body)), expected, "{body}");
    }
    for (body, expected) in [
        ("concurrency: {max: 8, queue: 0}, priority: high", vec![]),
        ("concurrency: {max: 0}", vec![Code::BadValue]),
        ("concurrency: {queue: 200000}", vec![Code::BadValue]),
        ("concurrency: {queue: 0, wait: 1s}", vec![Code::Contradiction]),
        ("concurrency: {wait: 1s}, deadline: 1s", vec![Code::Times]),
        ("priority: urgent", vec![Code::BadValue]),
    ] {
        assert_eq!(codes(&model(&format!("chain: [{{pool: p}}], {body}"))), expected, "{body}");
    }
    for (body, expected) in [
        ("{trusted: [10.0.0.0/8, \"::1\"]}", vec![]),
        ("{name: x-class, trusted: [127.0.0.1]}", vec![]),
        ("{name: x-class}", vec![Code::Missing]),
        ("{trusted: []}", vec![Code::Missing]),
        ("{trusted: [0.0.0.0/0]}", vec![Code::Contradiction]),
        ("{trusted: [10.0.0.0/40]}", vec![Code::BadValue]),
        ("{name: content-length, trusted: [127.0.0.1]}", vec![Code::BadValue]),
        ("{name: x-mainstay-priority, trusted: [127.0.0.1]}", vec![Code::BadValue]),
    ] {
        let text = format!("listen: {{priority-header: {body}}}\n{}", model("chain: [{pool: p}]"));
        assert_eq!(codes(&text), expected, "{body}");
    }
}

#[test]
fn traps_of_models_are_refused() {
    let out = "outputs: {l: {datatype: BYTES, shape: [-1]}, q: {datatype: FP32, shape: [-1, 2]}}";
    for (body, expected) in [
        ("", vec![Code::Missing]),
        ("chain: []", vec![Code::Missing]),
        ("chain: [{}]", vec![Code::Missing]),
        ("chain: [{pool: q}]", vec![Code::UnknownName]),
        ("chain: [{pool: p, embedded: x}]", vec![Code::Contradiction]),
        ("chain: [{pool: p}, {pool: p}]", vec![Code::Unreachable]),
        ("chain: [{pool: p}, {pool: p, version: 2}]", vec![]),
        ("chain: [{pool: p}], deadline: 100ms", vec![]),
        ("chain: [{pool: p}], deadline: 100us", vec![Code::Times]),
        ("chain: [{pool: p}], deadline: 0s", vec![Code::BadValue]),
        ("chain: [{pool: p}], attempts: 0", vec![Code::BadValue]),
        ("chain: [{pool: p}], attempts: 300", vec![Code::BadValue]),
        ("chain: [{pool: p}], exhausted: default", vec![Code::Contradiction]),
        ("chain: [{pool: p}], exhausted: maybe", vec![Code::BadValue]),
        ("chain: [{pool: p}, {embedded: x.onnx}], degrade: never", vec![Code::Unreachable]),
        ("chain: [{default: {l: x}}]", vec![Code::DefaultMisfit]),
        ("chain: [{pool: p, confidence: {output: q, at-least: 0.3}}]", vec![Code::UnknownName]),
        ("chain: [{pool: p, confidence: {output: q}}]", vec![Code::Missing]),
        ("chain: [{embedded: {engine: onnxruntime, path: x.onnx}}]", vec![Code::Missing]),
    ] {
        assert_eq!(codes(&model(body)), expected, "{body}");
    }
    for (chain, expected) in [
        ("{default: {l: x, q: [0.5, 0.5]}}", vec![]),
        ("{default: {l: [x], q: [[1, 0]]}}", vec![]),
        ("{default: {l: x}}", vec![Code::DefaultMisfit]),
        ("{default: {l: x, q: [1]}}", vec![Code::DefaultMisfit]),
        ("{default: {l: 5, q: [1, 2]}}", vec![Code::DefaultMisfit]),
        ("{default: {l: x, q: [a, b]}}", vec![Code::DefaultMisfit]),
        ("{default: {l: x, q: [1, 2], z: 1}}", vec![Code::DefaultMisfit]),
        ("{default: {l: x, q: [1, 2]}}, {pool: p}", vec![Code::Unreachable]),
        ("{pool: p, confidence: {output: l, at-least: 1}}", vec![Code::Contradiction]),
        ("{pool: p, confidence: {output: q, at-least: 0.3, reduce: margin}}", vec![]),
    ] {
        let body = format!("{out}, chain: [{chain}]");
        assert_eq!(codes(&model(&body)), expected, "{chain}");
    }
}

#[test]
fn what_is_repeated_and_remembered_is_bounded() {
    for (body, expected) in [
        ("hedge: off", vec![]),
        ("hedge: {share: 2%, after: 20ms}", vec![]),
        ("hedge: {after: p95}", vec![]),
        ("hedge: {after: p50}", vec![Code::BadValue]),
        ("hedge: {share: 0%}", vec![Code::BadValue]),
        ("hedge: always", vec![Code::BadValue]),
    ] {
        assert_eq!(codes(&pool(body)), expected, "{body}");
    }
    for (body, expected) in [
        ("poison: off, idempotency: {remember: 5m}", vec![]),
        ("poison: {endpoints: 3, remember: 10s}, idempotency: {}", vec![]),
        ("poison: {endpoints: 1}", vec![Code::BadValue]),
        ("poison: {remember: 0s}", vec![Code::BadValue]),
        ("idempotency: {remember: 0s}", vec![Code::BadValue]),
    ] {
        let body = format!("chain: [{{pool: p}}], {body}");
        assert_eq!(codes(&model(&body)), expected, "{body}");
    }
    for (section, expected) in [
        ("amplification: {cap: 1.2}", vec![]),
        ("amplification: {cap: 1.1}", vec![Code::Contradiction]),
        ("amplification: {cap: 0.5}", vec![Code::BadValue]),
        ("retry: {ratio: 80%}", vec![Code::Contradiction]),
        ("retry: {ratio: 80%}\namplification: {cap: 2}", vec![]),
    ] {
        let text = format!("{section}\n{}", model("chain: [{pool: p}]"));
        assert_eq!(codes(&text), expected, "{section}");
    }
}

#[test]
fn guards_speak_of_what_can_be() {
    let out = "outputs: {l: {datatype: BYTES, shape: [-1]}, q: {datatype: FP32, shape: [-1, 2]}}";
    for (guards, expected) in [
        ("{}", vec![]),
        ("{finite: true, shape: declared}", vec![]),
        ("{finite: yes please}", vec![Code::WrongType]),
        ("{shape: exact}", vec![Code::BadValue]),
        ("{outputs: {q: {range: [0, 1]}, l: {allowed: [a, b]}}}", vec![]),
        ("{outputs: {q: {}}}", vec![Code::Missing]),
        ("{outputs: {p: {range: [0, 1]}}}", vec![Code::UnknownName]),
        ("{outputs: {q: {range: [1, 0]}}}", vec![Code::BadValue]),
        ("{outputs: {q: {range: [0]}}}", vec![Code::BadValue]),
        ("{outputs: {l: {range: [0, 1]}}}", vec![Code::Contradiction]),
        ("{outputs: {l: {allowed: []}}}", vec![Code::BadValue]),
        ("{outputs: {l: {allowed: [1, 2]}}}", vec![Code::Contradiction]),
        ("{outputs: {l: {allowed: [a, 2]}}}", vec![Code::Contradiction]),
        ("{outputs: {q: {allowed: [0, 0.5, 1]}}}", vec![]),
        ("{constant: off}", vec![]),
        ("{constant: {answers: 10, for: 0s, outputs: [q], then: reject}}", vec![]),
        ("{constant: {answers: 1}}", vec![Code::BadValue]),
        ("{constant: {outputs: [z]}}", vec![Code::UnknownName]),
        ("{constant: always}", vec![Code::BadValue]),
    ] {
        let body = format!("{out}, chain: [{{pool: p}}], guards: {guards}");
        assert_eq!(codes(&model(&body)), expected, "{guards}");
    }
    assert_eq!(codes(&model("chain: [{pool: p}], guards: {shape: declared}")), [Code::Missing]);
    assert!(
        codes(&model("chain: [{pool: p}], guards: {outputs: {y: {range: [0, 1]}}}")).is_empty()
    );
}

#[test]
fn a_default_must_keep_to_the_guards() {
    let out = "batch: first-dimension, outputs: {l: {datatype: BYTES, shape: [-1]}, \
               q: {datatype: FP32, shape: [-1, 2]}}";
    for (guards, default, expected) in [
        ("{finite: true, shape: declared}", "{l: x, q: [0.5, 0.5]}", vec![]),
        ("{outputs: {q: {range: [0, 1]}}}", "{l: x, q: [0.5, 1.5]}", vec![Code::DefaultMisfit]),
        ("{outputs: {l: {allowed: [a, b]}}}", "{l: x, q: [0, 1]}", vec![Code::DefaultMisfit]),
        ("{outputs: {l: {allowed: [a, x]}}}", "{l: x, q: [0, 1]}", vec![]),
    ] {
        let chain = format!("[{{pool: p}}, {{default: {default}}}]");
        let body = format!("{out}, chain: {chain}, guards: {guards}");
        assert_eq!(codes(&model(&body)), expected, "{guards} {default}");
    }
}

#[test]
fn golden_files_are_read_and_held_against_the_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let golden = |model: &str, datatype: &str| {
        format!(
            r#"{{"model": "{model}",
            "request": {{"inputs": [{{"name": "x", "datatype": "INT8", "shape": [1], "data": [1]}}]}},
            "expect": {{"outputs": [{{"name": "y", "datatype": "{datatype}", "shape": [1], "data": [1]}}]}}
            }}"#
        )
    };
    fs::write(at("good.json"), golden("m", "FP32")).unwrap();
    fs::write(at("misfit.json"), golden("m", "INT64")).unwrap();
    fs::write(at("other.json"), golden("elsewhere", "FP32")).unwrap();
    fs::write(at("broken.json"), "{}").unwrap();
    let parse = |probe: &str| {
        let text = format!(
            "pools: {{p: {{endpoints: [http://a:1], probe: {{golden: {probe}}}}}}}\n\
             models: {{m: {{chain: [{{pool: p}}], \
             outputs: {{y: {{datatype: FP32, shape: [-1]}}}}}}}}\n"
        );
        let name = at("mainstay.yaml");
        Config::parse(&name, &text)
            .map(|config| config.warnings.iter().map(|fault| fault.code()).collect::<Vec<_>>())
            .map_err(|errors| errors.faults().iter().map(|f| f.code()).collect::<Vec<_>>())
    };
    assert_eq!(parse("good.json"), Ok(vec![]));
    assert_eq!(parse("{files: [good.json], interval: 1s, fall: 1}"), Ok(vec![]));
    assert_eq!(parse("other.json"), Ok(vec![Code::Unused]));
    assert_eq!(parse("misfit.json"), Err(vec![Code::Golden]));
    assert_eq!(parse("broken.json"), Err(vec![Code::Golden]));
    assert_eq!(parse("missing.json"), Err(vec![Code::Unreadable]));
    assert_eq!(parse("{interval: 1s}"), Err(vec![Code::Missing]));
    assert_eq!(parse("{files: [good.json], timeout: 20s}"), Err(vec![Code::Times]));
}

#[test]
fn outputs_must_make_sense() {
    for (outputs, expected) in [
        ("{q: {datatype: FLOAT, shape: [1]}}", vec![Code::BadValue]),
        ("{q: {datatype: FP32, shape: [0]}}", vec![Code::BadValue]),
        ("{q: {datatype: FP32}}", vec![Code::Missing]),
        ("{q: {datatype: FP32, shape: [2]}}, batch: first-dimension", vec![Code::Contradiction]),
        ("{q: {datatype: FP32, shape: []}}, batch: first-dimension", vec![Code::Contradiction]),
    ] {
        let body = format!("chain: [{{pool: p}}], outputs: {outputs}");
        assert_eq!(codes(&model(&body)), expected, "{outputs}");
    }
}

#[test]
fn traps_of_pools_are_refused() {
    for (body, expected) in [
        ("connect-timeout: 10s", vec![Code::Times]),
        ("connect-timeout: 9s", vec![]),
        ("probe: {timeout: 1s}", vec![]),
        ("probe: {timeout: 2s}", vec![Code::Times]),
        ("probe: {fast-interval: 400ms}", vec![Code::Times]),
        ("probe: {rise: 0}", vec![Code::BadValue]),
        ("probe: {check: {http: {path: health}}}", vec![Code::BadValue]),
        ("probe: {check: {http: {}, tcp: {}}}", vec![Code::WrongType]),
        ("probe: {check: tcp}", vec![]),
        ("probe: {check: {tcp: {port: 0}}}", vec![Code::BadValue]),
        ("probe: {check: {command: []}}", vec![Code::Missing]),
        ("probe: {check: ready}", vec![Code::BadValue]),
        ("breaker: off", vec![]),
        ("breaker: on", vec![Code::BadValue]),
        ("breaker: {slow: false}", vec![]),
        ("breaker: {window: {calls: 20}, minimum-calls: 21}", vec![Code::Contradiction]),
        ("breaker: {window: {calls: 10}}", vec![]),
        ("breaker: {window: {calls: 65}}", vec![Code::BadValue]),
        ("breaker: {window: soon}", vec![Code::BadValue]),
        ("breaker: {open: 90s}", vec![Code::Contradiction]),
        ("breaker: {failure-rate: 0%}", vec![Code::BadValue]),
        ("breaker: {failure-rate: 50}", vec![Code::BadValue]),
        ("backoff: {base: 2s}", vec![Code::Contradiction]),
        ("flavour: tritton", vec![Code::BadValue]),
        ("progress: off", vec![]),
        ("progress: {stall-after: 10ms}", vec![Code::BadValue]),
        ("progress: {factor: -1}", vec![Code::BadValue]),
        ("heartbeat: {interval: 2s}", vec![]),
        ("heartbeat: yes", vec![Code::BadValue]),
        ("heartbeat: {misses: 0}", vec![Code::BadValue]),
        ("counters: auto", vec![Code::Missing]),
        ("counters: auto, flavour: triton", vec![]),
        ("counters: auto, flavour: tensorflow-serving", vec![Code::Missing]),
        ("counters: {kind: vllm, interval: 2s}", vec![]),
        ("counters: {port: 9000}", vec![Code::Missing]),
        ("counters: {kind: triton, port: 0}", vec![Code::BadValue]),
        ("counters: {kind: triton, path: metrics}", vec![Code::BadValue]),
        ("connect-timeout: [1s]", vec![Code::WrongType]),
    ] {
        assert_eq!(codes(&pool(body)), expected, "{body}");
    }
}

#[test]
fn endpoints_must_be_reachable_and_unique() {
    for (endpoints, expected) in [
        ("[]", vec![Code::Missing]),
        ("[ftp://a:1]", vec![Code::BadValue]),
        ("[a:1]", vec![Code::BadValue]),
        ("[{name: x}]", vec![Code::Missing]),
        ("[http://a:1, http://a:1/]", vec![Code::SetTwice]),
        ("[{url: http://a:1, name: x}, {url: http://b:1, name: x}]", vec![Code::SetTwice]),
        ("[{url: http://a:1, weight: 0}]", vec![Code::BadValue]),
        ("[{url: http://a:1, dependencies: [{name: d}]}]", vec![Code::Contradiction]),
        ("[{url: http://a:1, dependencies: [{name: d, tcp: nowhere}]}]", vec![Code::BadValue]),
        ("[{url: http://a:1, dependencies: [{name: d, http: http://b:1/x}]}]", vec![]),
    ] {
        let text = format!(
            "pools: {{p: {{endpoints: {endpoints}}}}}\nmodels: {{m: {{chain: [{{pool: p}}]}}}}"
        );
        assert_eq!(codes(&text), expected, "{endpoints}");
    }
}

#[test]
fn sections_are_checked_against_each_other() {
    let sound = model("chain: [{pool: p}]");
    for (section, expected) in [
        ("admin: {address: 0.0.0.0:8080}", vec![Code::Exposed, Code::Contradiction]),
        ("limits: {replay: 1GiB}", vec![Code::Contradiction]),
        ("limits: {body: 0}", vec![Code::BadValue]),
        ("workers: 0", vec![Code::BadValue]),
        ("log: {level: verbose}", vec![Code::BadValue]),
        ("listen: {http: 8080}", vec![Code::BadValue]),
        ("drain: 30", vec![Code::BadValue]),
        ("pool: {}", vec![Code::UnknownKey]),
        ("defaults: {pool: {endpoints: [http://a:1]}}", vec![Code::Contradiction]),
        ("defaults: {model: {chain: []}}", vec![Code::UnknownKey]),
    ] {
        assert_eq!(codes(&format!("{section}\n{sound}")), expected, "{section}");
    }
    assert_eq!(codes(""), [Code::Missing, Code::Missing]);
    assert_eq!(codes("- a"), [Code::WrongType]);
    assert_eq!(codes("a: ["), [Code::Syntax]);
}

#[test]
fn what_is_set_twice_is_said_beside_all_else() {
    let text = "pools: {p: {endpoints: [http://a:1]}, p: {endpoints: [http://b:1]}}\n\
                models:\n  m: {chain: [{pool: p}]}\n  m: {chain: [{pool: q}]}\nworkers: x\n";
    let found = codes(text);
    assert_eq!(found, [Code::SetTwice, Code::SetTwice, Code::UnknownName, Code::WrongType]);
}

#[test]
fn one_fault_brings_no_other() {
    let text = "pools:\n  p: 5\n  q: {endpoints: [[]]}\nmodels:\n  m: {chain: [{pool: p}, 7]}\n  \
                n: {outputs: {o: 1}, chain: [{pool: q}, {default: {o: 1}}]}\n";
    assert_eq!(codes(text), [Code::WrongType; 4]);
}

#[test]
fn a_fault_hides_no_other() {
    let text = "worker: 1\nnode: {nam: x}\npools:\n  p: 5\n  q: {endpoints: [], x: 1}\nmodels:\n  \
                m: {x: 1, chain: [{pool: p}, {pool: r}]}\n  \
                n: {x: 1, chain: [], outputs: {}}\n  o: {x: 1, chain: [{default: {l: 1}}]}\n";
    use Code::{DefaultMisfit, Missing, UnknownKey, UnknownName, WrongType};
    let expected = [
        UnknownKey,
        UnknownKey,
        WrongType,
        Missing,
        UnknownKey,
        UnknownKey,
        UnknownName,
        UnknownKey,
        Missing,
        UnknownKey,
    ];
    assert_eq!(codes(text), expected);
    assert_eq!(codes(&text.replace("o: {x: 1", "o: {outputs: {}"))[9], DefaultMisfit);
    assert_eq!(codes("pools: {p: {endpoints: [http://a:1]}}\nmodels: []"), [WrongType]);
}

#[test]
fn many_faults_are_all_found() {
    let bad: String = (0..30).map(|n| format!("  m{n}: {{chian: [{{pool: p}}]}}\n")).collect();
    assert_eq!(codes(&format!("{POOL}models:\n{bad}")), [Code::UnknownKey; 30]);
}

#[test]
fn defaults_lie_under_every_entry_and_are_blamed_once() {
    let text = "defaults:\n  pool: {connect-timeout: 50ms, probe: {interval: 5s}}\n  \
                model: {attempts: 2}\npools:\n  p: {endpoints: [http://a:1], probe: {timeout: 1s}}\n  \
                q: {endpoints: [http://b:1], connect-timeout: 60ms}\nmodels:\n  \
                m: {chain: [{pool: p}, {pool: q}], attempts: 1}\n  n: {chain: [{pool: p}]}\n";
    let config = Config::parse("t", text).unwrap();
    let (p, q) = (&config.pools[0], &config.pools[1]);
    assert_eq!((p.connect_timeout.as_millis(), q.connect_timeout.as_millis()), (50, 60));
    assert_eq!((p.probe.health.interval.as_secs(), p.probe.health.timeout.as_secs()), (5, 1));
    assert_eq!((config.models[0].attempts, config.models[1].attempts), (1, 2));
    let broken = text.replace("50ms", "50 parsecs").replace("attempts: 2", "attempt: 2");
    assert_eq!(codes(&broken), [Code::BadValue, Code::UnknownKey]);
}

#[test]
fn includes_join_and_name_their_own_file() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write(
        "main.yaml",
        "include: [pools.yaml, more/models.yaml]\nmodels: {m: {chain: [{pool: p}]}}",
    );
    write("pools.yaml", POOL);
    fs::create_dir(dir.path().join("more")).unwrap();
    write("more/models.yaml", "models:\n  n: {chain: [{pool: p}, {embedded: x.onnx}]}\n");
    write("more/x.onnx", "");
    let config = Config::load(dir.path().join("main.yaml")).unwrap();
    assert_eq!(config.models.len(), 2);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);

    write("more/models.yaml", "models:\n  m: {chain: [{pool: q}]}\n");
    let errors = Config::load(dir.path().join("main.yaml")).unwrap_err();
    let fault = &errors.faults()[0];
    assert_eq!((fault.code(), fault.position()), (Code::SetTwice, Some((2, 3))));
    assert!(fault.file().unwrap().ends_with("models.yaml"));

    write("pools.yaml", "include: [main.yaml]");
    write("more/models.yaml", "a: [");
    let errors = Config::load(dir.path().join("main.yaml")).unwrap_err();
    let found: Vec<Code> = errors.faults().iter().map(|fault| fault.code()).collect();
    assert_eq!(found, [Code::Syntax, Code::Include]);
}

#[test]
fn unreadable_files_are_said_so() {
    assert_eq!(codes("include: [/nonexistent.yaml]"), [Code::Unreadable]);
    assert_eq!(codes("include: [/dev/zero]"), [Code::Unreadable]);
    let errors = Config::load("/nonexistent.yaml").unwrap_err();
    assert!(errors.to_string().contains("MS0101"), "{errors}");
}

#[test]
fn secrets_come_from_elsewhere_and_are_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    fs::write(&file, "Bearer hidden\n").unwrap();
    let header = |value: &str| {
        pool(&format!("probe: {{check: {{http: {{headers: {{Authorization: {value}}}}}}}}}"))
    };
    let config = Config::parse("t", &header(&format!("{{file: {}}}", file.display()))).unwrap();
    assert!(!format!("{config:?}").contains("hidden"));

    for (value, shown) in [
        ("Bearer hidden", "must not be written"),
        ("{file: /nonexistent}", "/nonexistent"),
        ("{env: MAINSTAY_TEST_NOT_SET}", "MAINSTAY_TEST_NOT_SET"),
        ("{}", "exactly one source"),
    ] {
        let errors = Config::parse("t", &header(value)).unwrap_err();
        assert_eq!(errors.faults()[0].code(), Code::Secret, "{value}");
        let told = format!("{errors}{}", render_graphical(errors.faults(), 100, false));
        assert!(told.contains(shown), "{told}");
        assert!(!told.contains("hidden"), "{told}");
    }
    let errors = Config::parse("t", &pool("x: [http://me:hidden@a:1]")).unwrap_err();
    assert!(!errors.to_string().contains("hidden"), "{errors}");
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let text = format!(
        "{}models: {{m: {{chain: [{{pool: p}}, {{embedded: no.onnx}}]}}}}",
        "pools: {p: {endpoints: [http://a:1]}, q: {endpoints: [http://b:1]}}\n"
    );
    let config = Config::parse("t", &text).unwrap();
    let mut found: Vec<Code> = config.warnings.iter().map(|warning| warning.code()).collect();
    found.sort_unstable();
    assert_eq!(found, [Code::Unreadable, Code::Unused]);
    assert!(config.warnings.iter().all(|warning| warning.is_warning()));
}

#[test]
fn outliers_and_the_way_back_fit_together() {
    let with = |keys: &str| format!("pools: {{p: {{endpoints: [http://a:1], {keys}}}}}\n");
    let model = "models: {m: {chain: [{pool: p}]}}\n";
    let pool = |keys: &str| Config::parse("t", &(with(keys) + model));
    let config = pool("outliers: off").unwrap();
    assert_eq!(config.pools[0].outliers, mainstay_policy::outlier::Settings::off());
    let config = pool("outliers: {consecutive: 0, latency: off, max-ejected: 30%}").unwrap();
    assert_eq!(config.pools[0].outliers.consecutive, None);
    assert_eq!(config.pools[0].outliers.latency, None);
    assert!(config.pools[0].outliers.success_rate.is_some());
    let config = pool("slow-start: {minimum: 20%}, failback: {ramp: 30s}").unwrap();
    assert_eq!(config.pools[0].failback.foot, mainstay_policy::Ratio::percent(20));
    for (keys, code) in [
        ("outliers: on", Code::BadValue),
        ("outliers: {max-ejected: 0%}", Code::BadValue),
        ("outliers: {latency: {factor: 1}}", Code::BadValue),
        ("failback: {hold: 10m}", Code::Contradiction),
    ] {
        let errors = pool(keys).unwrap_err();
        assert_eq!(errors.faults()[0].code(), code, "{keys}: {errors}");
    }
}

#[test]
fn last_resorts_are_words_or_a_wait() {
    use mainstay_policy::chain::LastResort;
    let model = |rule: &str| {
        let model = format!("models: {{m: {{chain: [{{pool: p}}], last-resort: {rule}}}}}\n");
        Config::parse("t", &format!("pools: {{p: {{endpoints: [http://a:1]}}}}\n{model}"))
    };
    for (rule, expected) in [
        ("next-step", LastResort::NextStep),
        ("fail-fast", LastResort::FailFast),
        ("panic", LastResort::Panic),
        ("{wait: 250ms, queue: 7}", LastResort::Wait(std::time::Duration::from_millis(250))),
    ] {
        assert_eq!(model(rule).unwrap().models[0].last_resort, expected);
    }
    assert_eq!(model("{wait: 250ms, queue: 7}").unwrap().models[0].last_resort_queue, 7);
    for (rule, code) in
        [("hope", Code::BadValue), ("{queue: 3}", Code::Missing), ("{wait: 0s}", Code::BadValue)]
    {
        assert_eq!(model(rule).unwrap_err().faults()[0].code(), code, "{rule}");
    }
}

/// A pool whose endpoint has this process.
fn supervised(process: &str) -> String {
    format!(
        "pools: {{p: {{endpoints: [{{url: \"http://127.0.0.1:8000\", process: {process}}}]}}}}\n\
         models: {{m: {{chain: [{{pool: p}}]}}}}\n"
    )
}

#[test]
fn a_process_is_read_with_its_defaults() {
    let text = supervised("{command: [/bin/sh, -c], args: [exit], env: {LEVEL: 1}, restart: off}");
    let config = Config::parse("t", &text).unwrap();
    let process = config.pools[0].endpoints[0].process.clone().unwrap();
    assert_eq!(process.command, ["/bin/sh", "-c", "exit"]);
    assert_eq!((process.stop.signal, process.stop.grace.as_secs()), (15, 10));
    assert_eq!(process.env[0].1.expose(), "1");
    assert!(!process.restart.enabled);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert!(!format!("{config:?}").contains("expose"));
}

#[test]
fn a_process_that_cannot_be_is_refused() {
    for (process, code) in [
        ("{}", Code::Missing),
        ("{command: []}", Code::Missing),
        ("{command: [/bin/sh], user: nobody-has-this-name}", Code::UnknownName),
        ("{command: [/bin/sh], limits: {memory: 1MiB}}", Code::BadValue),
        ("{command: [/bin/sh], limits: {cpu: 0}}", Code::BadValue),
        ("{command: [/bin/sh], stop: {signal: STOP}}", Code::BadValue),
        ("{command: [/bin/sh], restart: {base: 2s, max: 1s}}", Code::Times),
        ("{command: [/bin/sh], env: {API_TOKEN: abc}}", Code::Secret),
        ("{command: [/bin/sh, \"{port}\"]}", Code::Contradiction),
    ] {
        assert_eq!(codes(&supervised(process)), [code], "{process}");
    }
}

#[test]
fn a_missing_program_is_only_warned_of() {
    let config = Config::parse("t", &supervised("{command: [/no/such/program]}")).unwrap();
    assert!(config.warnings[0].to_string().contains("/no/such/program"), "{:?}", config.warnings);
}

#[test]
fn a_cold_standby_that_nothing_can_start_is_refused() {
    for (body, expected) in [
        ("standby: cold", vec![Code::Missing]),
        ("standby: warm", vec![]),
        ("standby: cold, process: {command: [/bin/sh]}", vec![]),
        ("standby: cold, process: 7", vec![Code::WrongType]),
    ] {
        let text = format!(
            "pools: {{p: {{endpoints: [http://a:1, {{url: \"http://127.0.0.1:1\", {body}}}]}}}}\n\
             models: {{m: {{chain: [{{pool: p}}]}}}}\n"
        );
        assert_eq!(codes(&text), expected, "{body}");
    }
    let listed = Endpoint::list("list.yaml", "- {url: http://a:1, standby: cold}\n").unwrap_err();
    assert_eq!(listed.faults()[0].code(), Code::Missing);
}

#[test]
fn two_processes_on_one_port_are_refused() {
    let end = "{url: \"http://127.0.0.1:8000\", process: {command: [/bin/sh]}}";
    let text = format!(
        "pools: {{p: {{endpoints: [{end}]}}, q: {{endpoints: [{end}]}}}}\n\
         models: {{m: {{chain: [{{pool: p}}, {{pool: q}}]}}}}\n"
    );
    assert_eq!(codes(&text), [Code::Contradiction]);
}

#[test]
fn replicas_need_a_process_with_a_port() {
    let pool =
        |keys: &str| format!("pools: {{p: {{{keys}}}}}\nmodels: {{m: {{chain: [{{pool: p}}]}}}}\n");
    let process = "process: {command: [/bin/sh, \"{port}\"]}";
    let config =
        Config::parse("t", &pool(&format!("replicas: {{min: 1, max: 3}}, {process}"))).unwrap();
    assert!(config.pools[0].endpoints.is_empty());
    let replica = config.pools[0].process.clone().unwrap().at_port(20_001);
    assert_eq!(replica.command, ["/bin/sh", "20001"]);
    let fixed = Config::parse("t", &pool(&format!("replicas: 2, {process}"))).unwrap();
    assert_eq!(fixed.pools[0].replicas.as_ref().unwrap().settings.min, 2);
    for keys in
        ["replicas: {min: 1, max: 3}", "replicas: {min: 1, max: 3}, process: {command: [/bin/sh]}"]
    {
        assert_eq!(codes(&pool(keys)), [Code::Missing], "{keys}");
    }
    assert_eq!(
        codes(&pool(&format!("replicas: {{min: 3, max: 2}}, {process}"))),
        [Code::Contradiction]
    );
}

#[test]
fn aliases_and_merge_keys_are_understood() {
    let text = "pools:\n  p: &base {endpoints: [http://a:1], connect-timeout: 50ms}\n  \
                q: {<<: *base, endpoints: [http://b:1]}\n\
                models: {m: {chain: [{pool: p}, {pool: q}]}}\n";
    let config = Config::parse("t", text).unwrap();
    assert_eq!(config.pools[1].connect_timeout.as_millis(), 50);
}

#[test]
fn deep_and_swelling_texts_are_refused() {
    assert_eq!(codes(&"[".repeat(10_000)), [Code::Syntax]);
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let item = format!("*a{}", n - 1);
        bomb += &format!("a{n}: &a{n} [{}]\n", vec![item; 10].join(", "));
    }
    assert_eq!(codes(&bomb), [Code::Syntax]);
}

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

#[test]
fn every_code_has_its_page() {
    for code in Code::ALL {
        let path = repository("docs/errors").join(format!("{code}.md"));
        let page = fs::read_to_string(&path).unwrap_or_default();
        assert!(page.starts_with(&format!("# {code}: ")), "{} is missing", path.display());
        assert!(page.contains("## What to do"), "{} does not say what to do", path.display());
    }
}

/// Compares a generated file with the committed one; `MAINSTAY_BLESS=1` writes it.
fn compare(path: &str, generated: &str) {
    let path = repository(path);
    if std::env::var_os("MAINSTAY_BLESS").is_some() {
        fs::write(&path, generated).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "{} is stale: run with MAINSTAY_BLESS=1", path.display());
}

#[test]
fn the_annotated_example_is_current_and_loads() {
    compare("examples/mainstay.yaml", &mainstay_config::annotated_example());
    Config::load(repository("examples/mainstay.yaml")).unwrap_or_else(|errors| panic!("{errors}"));
    Config::load(repository("examples/short.yaml")).unwrap_or_else(|errors| panic!("{errors}"));
}

#[test]
fn the_schema_is_current() {
    compare("docs/config.schema.json", &mainstay_config::schema::json_schema());
}

#[test]
fn traps_of_sources_are_refused() {
    for (body, expected) in [
        ("discover: {dns: models.internal, port: 8000}", vec![]),
        ("discover: [{srv: _oip._tcp.models.internal}, {file: list.yaml}]", vec![]),
        ("discover: {register: true}", vec![]),
        ("discover: {register: {from: [10.0.0.0/8], most: 3, grace: 1s}}", vec![]),
        ("discover: {dns: models.internal}", vec![Code::Missing]),
        ("discover: {dns: 10.0.0.1, port: 8000}", vec![Code::BadValue]),
        ("discover: {dns: a b, port: 8000}", vec![Code::BadValue]),
        ("discover: {dns: a, port: 1, file: b}", vec![Code::Contradiction]),
        ("discover: {srv: a, port: 1}", vec![Code::Contradiction]),
        ("discover: {file: a, min-refresh: 5s}", vec![Code::Contradiction]),
        ("discover: {dns: a, port: 1, min-refresh: 5s, max-refresh: 4s}", vec![Code::Times]),
        ("discover: {dns: a, port: 1, min-refresh: 1ms}", vec![Code::BadValue]),
        ("discover: {dns: a, port: 1, resolver: [dns.internal]}", vec![Code::BadValue]),
        ("discover: {dns: a, port: 1, path: base}", vec![Code::BadValue]),
        ("discover: {}", vec![Code::Missing]),
        ("discover: [{file: a}, {file: a}]", vec![Code::SetTwice]),
        ("discover: {register: false}", vec![Code::BadValue]),
        ("discover: {register: {from: []}}", vec![Code::Missing]),
        ("discover: {register: {from: [10.0.0.0/40]}}", vec![Code::BadValue]),
        ("discover: {dsn: a}", vec![Code::UnknownKey]),
    ] {
        assert_eq!(codes(&pool(body)), expected, "{body}");
    }
}

#[test]
fn a_pool_whose_endpoints_come_from_elsewhere_needs_none_of_its_own() {
    let text = "pools: {p: {discover: {dns: a, port: 1}}}\nmodels: {m: {chain: [{pool: p}]}}\n";
    let config = Config::parse("test.yaml", text).unwrap();
    assert!(config.pools[0].endpoints.is_empty());
    assert_eq!(config.pools[0].discover[0].to_string(), "dns a:1");
    let text = "pools: {p: {endpoints: []}}\nmodels: {m: {chain: [{pool: p}]}}\n";
    assert_eq!(codes(text), [Code::Missing]);
}

#[test]
fn last_good_answers_and_rehearsals_are_reviewed() {
    let model = |text: &str| format!("{POOL}models:\n  m: {{{text}}}\n");
    let of = |text: &str| Config::parse("t", &model(text)).map(|config| config.models[0].clone());
    let minutes = |text: &str| {
        let step = &of(text).unwrap().chain[1];
        let mainstay_config::Source::LastGood(rule) = &step.source else { panic!("{step:?}") };
        (rule.max_age.as_secs() / 60, rule.shared)
    };
    assert_eq!(minutes("chain: [{pool: p}, {last-good: 20m}]"), (20, false));
    assert_eq!(minutes("chain: [{pool: p}, {last-good: {callers: shared}}]"), (10, true));
    let refused = [
        ("chain: [{last-good: 10m}, {pool: p}]", Code::Unreachable),
        ("chain: [{pool: p}, {last-good: 1m}, {last-good: 2m}]", Code::Unreachable),
        ("chain: [{pool: p}, {last-good: soon}]", Code::BadValue),
        ("chain: [{pool: p}, {last-good: 1m, default: {}}]", Code::Contradiction),
        ("chain: [{pool: p}], rehearsal: often", Code::BadValue),
        ("chain: [{pool: p}], rehearsal: 0%", Code::BadValue),
        ("chain: [{pool: p}], rehearsal: {stale-after: 1ms}", Code::Times),
    ];
    for (text, code) in refused {
        assert_eq!(codes(&model(text)), [code], "{text}");
    }
    let share = |text: &str| {
        let model = of(text).unwrap();
        model.rehearsal.map(|it| f64::from(it.settings.share.get()))
    };
    assert_eq!(share("chain: [{pool: p}]"), None);
    assert_eq!(share("chain: [{pool: p}], rehearsal: off"), None);
    assert_eq!(share("chain: [{pool: p}], rehearsal: 50%"), Some(0.5));
    assert_eq!(share("chain: [{pool: p}], rehearsal: 50%, repeatable: false"), None);
}

#[test]
fn traps_of_keys_distances_and_sequences_are_refused() {
    for (body, expected) in [
        ("balance: round-robin", vec![]),
        ("balance: {ring-hash: {header: x-user}, load-factor: 1.5}", vec![]),
        ("balance: {ring-hash: {input: user_id}}", vec![]),
        ("balance: fastest", vec![Code::BadValue]),
        ("balance: {load-factor: 2}", vec![Code::Missing]),
        ("balance: {ring-hash: {}}", vec![Code::Missing]),
        ("balance: {ring-hash: {header: a, input: b}}", vec![Code::Contradiction]),
        ("balance: {ring-hash: {header: x-mainstay-user}}", vec![Code::BadValue]),
        ("balance: {ring-hash: {header: x-user}, load-factor: 1}", vec![Code::BadValue]),
        ("locality: off", vec![]),
        ("locality: near", vec![Code::BadValue]),
        ("locality: {overprovisioning: 2, hold: 0s}", vec![]),
        ("locality: {overprovisioning: 0.5}", vec![Code::BadValue]),
    ] {
        assert_eq!(codes(&pool(body)), expected, "{body}");
    }
    for (sequence, expected) in [
        ("{}", vec![]),
        ("{by: sequence-id, on-loss: restart}", vec![]),
        ("{by: {header: x-session}, idle: 5m}", vec![]),
        ("{by: session}", vec![Code::BadValue]),
        ("{by: {}}", vec![Code::BadValue]),
        ("{by: {header: \"x session\"}}", vec![Code::BadValue]),
        ("{most: 0}", vec![Code::BadValue]),
    ] {
        let text = model(&format!("chain: [{{pool: p}}], sequence: {sequence}"));
        assert_eq!(codes(&text), expected, "{sequence}");
    }
}

#[test]
fn the_pools_of_a_chain_hash_by_one_key() {
    let text = |second: &str| {
        format!(
            "pools:\n  \
             p: {{endpoints: [http://a:1], balance: {{ring-hash: {{header: x-user}}}}}}\n  \
             q: {{endpoints: [http://b:1], balance: {{ring-hash: {{header: {second}}}}}}}\n\
             models: {{m: {{chain: [{{pool: p}}, {{pool: q}}]}}}}\n"
        )
    };
    assert_eq!(codes(&text("x-user")), []);
    assert_eq!(codes(&text("x-tenant")), [Code::Contradiction]);
}
