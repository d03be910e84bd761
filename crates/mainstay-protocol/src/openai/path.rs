//! The paths of the OpenAI API at which models are asked; which models there are is told under
//! `/v1/models`, a path that another protocol has, too.

/// What is asked of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// `/v1/chat/completions`
    #[default]
    Chat,
    /// `/v1/completions`
    Completions,
    /// `/v1/embeddings`
    Embeddings,
    /// `/v1/responses`
    Responses,
}

/// What a path asks for; `None` where it is none of the API's.
#[must_use]
pub fn recognise(path: &str) -> Option<Form> {
    match path.strip_prefix("/v1/")? {
        "chat/completions" => Some(Form::Chat),
        "completions" => Some(Form::Completions),
        "embeddings" => Some(Form::Embeddings),
        "responses" => Some(Form::Responses),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_known() {
        assert_eq!(recognise("/v1/chat/completions"), Some(Form::Chat));
        assert_eq!(recognise("/v1/responses"), Some(Form::Responses));
        assert_eq!(recognise("/v1/models"), None);
        assert_eq!(recognise("/v1/audio/speech"), None);
        assert_eq!(recognise("/v2/models/m/infer"), None);
    }
}
