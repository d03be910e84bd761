//! The language model of this server, as the OpenAI API has one: it counts. Its words are `1 `,
//! `2 ` and so on, as many as the request allows (8 where it does not say), so that a client sees
//! whether one is missing or came twice. Asked to continue a message, it counts on.

use serde_json::{Value, json};

use crate::wire::Request;

/// Words of an answer, where the request does not say.
const WORDS: u64 = 8;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Chat,
    Completions,
    Embeddings,
    Responses,
}

/// One request to the model.
#[derive(Debug)]
pub(crate) struct Prompt {
    pub(crate) form: Form,
    pub(crate) stream: bool,
    model: String,
    /// The words that stand there already.
    said: u64,
    words: u64,
    prompt_words: u64,
    usage: bool,
}

impl Prompt {
    /// `None` where the path is not of this API.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        let form = match request.path.split('?').next()? {
            "/v1/chat/completions" => Form::Chat,
            "/v1/completions" => Form::Completions,
            "/v1/embeddings" => Form::Embeddings,
            "/v1/responses" => Form::Responses,
            _ => return None,
        };
        let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let continued = asked["continue_final_message"] == true;
        let last = asked["messages"].as_array().and_then(|messages| messages.last());
        let text = match form {
            Form::Chat if continued => last.and_then(|last| last["content"].as_str()),
            Form::Completions => asked["prompt"].as_str(),
            _ => None,
        };
        let numbers = |text: &str| text.split(' ').filter(|it| it.parse::<u64>().is_ok()).count();
        let said = text.map_or(0, |text| numbers(text) as u64);
        let most = ["max_tokens", "max_completion_tokens", "max_output_tokens"];
        let most = most.iter().find_map(|key| asked[*key].as_u64());
        Some(Self {
            form,
            stream: asked["stream"] == true,
            model: asked["model"].as_str().unwrap_or_default().to_owned(),
            said,
            words: most.unwrap_or_else(|| WORDS.saturating_sub(said)),
            prompt_words: request.body.len() as u64 / 4,
            usage: asked["stream_options"]["include_usage"] == true,
        })
    }

    fn word(&self, at: u64) -> String {
        format!("{} ", self.said + at + 1)
    }

    fn text(&self) -> String {
        (0..self.words).map(|at| self.word(at)).collect()
    }

    fn counts(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt_words,
            "completion_tokens": self.words,
            "total_tokens": self.prompt_words + self.words
        })
    }

    /// The answer as a whole.
    pub(crate) fn answer(&self) -> String {
        let message = json!({"role": "assistant", "content": self.text(), "refusal": null});
        match self.form {
            Form::Chat => json!({
                "id": "chatcmpl-faults", "object": "chat.completion", "created": 1,
                "model": self.model, "usage": self.counts(),
                "choices": [{
                    "index": 0, "message": message, "logprobs": null, "finish_reason": "stop"
                }]
            }),
            Form::Completions => json!({
                "id": "cmpl-faults", "object": "text_completion", "created": 1,
                "model": self.model, "usage": self.counts(),
                "choices": [{
                    "index": 0, "text": self.text(), "logprobs": null, "finish_reason": "stop"
                }]
            }),
            Form::Embeddings => json!({
                "object": "list", "model": self.model,
                "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5, 1.0]}],
                "usage": {"prompt_tokens": self.prompt_words, "total_tokens": self.prompt_words}
            }),
            Form::Responses => self.response("completed"),
        }
        .to_string()
    }

    fn response(&self, status: &str) -> Value {
        let content = json!([{"type": "output_text", "text": self.text(), "annotations": []}]);
        let output = json!([{
            "type": "message", "id": "msg_faults", "status": status, "role": "assistant",
            "content": content
        }]);
        let whole = status == "completed";
        json!({
            "id": "resp_faults", "object": "response", "created_at": 1, "status": status,
            "model": self.model, "error": null, "incomplete_details": null,
            "instructions": null, "metadata": {}, "parallel_tool_calls": true,
            "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0,
            "output": if whole { output } else { json!([]) },
            "usage": whole.then(|| json!({
                "input_tokens": self.prompt_words, "output_tokens": self.words,
                "total_tokens": self.prompt_words + self.words,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0}
            }))
        })
    }

    /// What comes before the first word.
    pub(crate) fn opening(&self) -> String {
        match self.form {
            Form::Chat => self.chunk(&json!({"role": "assistant", "content": ""}), None),
            Form::Responses => {
                let response = self.response("in_progress");
                let event = json!({
                    "type": "response.created", "sequence_number": 0, "response": response
                });
                named(&event)
            }
            Form::Completions | Form::Embeddings => ": opened\n\n".to_owned(),
        }
    }

    /// One event for each word.
    pub(crate) fn words(&self) -> Vec<String> {
        (0..self.words).map(|at| self.said_at(at)).collect()
    }

    fn said_at(&self, at: u64) -> String {
        match self.form {
            Form::Responses => named(&json!({
                "type": "response.output_text.delta", "sequence_number": at + 1,
                "item_id": "msg_faults", "output_index": 0, "content_index": 0,
                "delta": self.word(at), "logprobs": []
            })),
            Form::Completions => self.text_chunk(&self.word(at), None),
            Form::Chat | Form::Embeddings => self.chunk(&json!({"content": self.word(at)}), None),
        }
    }

    /// The reason to finish, the usage where it is asked for, and the mark of the end.
    pub(crate) fn closing(&self) -> String {
        let finish = match self.form {
            Form::Responses => {
                let response = self.response("completed");
                let number = self.words + 1;
                return named(&json!({
                    "type": "response.completed", "sequence_number": number, "response": response
                }));
            }
            Form::Completions => self.text_chunk("", Some("stop")),
            Form::Chat | Form::Embeddings => self.chunk(&json!({}), Some("stop")),
        };
        let usage = self.usage.then(|| {
            data(&json!({
                "id": "chatcmpl-faults", "object": "chat.completion.chunk", "created": 1,
                "model": self.model, "choices": [], "usage": self.counts()
            }))
        });
        format!("{finish}{}data: [DONE]\n\n", usage.unwrap_or_default())
    }

    fn chunk(&self, delta: &Value, finish: Option<&str>) -> String {
        data(&json!({
            "id": "chatcmpl-faults", "object": "chat.completion.chunk", "created": 1,
            "model": self.model,
            "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]
        }))
    }

    fn text_chunk(&self, text: &str, finish: Option<&str>) -> String {
        data(&json!({
            "id": "cmpl-faults", "object": "text_completion", "created": 1, "model": self.model,
            "choices": [{"index": 0, "text": text, "logprobs": null, "finish_reason": finish}]
        }))
    }
}

fn data(event: &Value) -> String {
    format!("data: {event}\n\n")
}

fn named(event: &Value) -> String {
    format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())
}

/// An error as the API writes it.
pub(crate) fn error(status: u16, code: Option<&str>) -> String {
    let message = match code {
        Some("context_length_exceeded") => {
            "This model's maximum context length is 16 tokens.".to_owned()
        }
        Some(code) => format!("{code} by script"),
        None => format!("status {status} by script"),
    };
    let kind = match (status, code) {
        (429, Some(code)) => code,
        (400..=499, _) => "invalid_request_error",
        _ => "server_error",
    };
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}}).to_string()
}

/// The list of models.
pub(crate) fn models() -> String {
    let model = json!({"id": "counter", "object": "model", "created": 1, "owned_by": "faults"});
    json!({"object": "list", "data": [model]}).to_string()
}
