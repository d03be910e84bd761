"""Health and metadata, as a client of the protocol asks for them."""

import pytest
from tritonclient.utils import InferenceServerException
from wire import MODEL


def test_server_is_live_and_ready(client):
    assert client.is_server_live()
    assert client.is_server_ready()


def test_model_is_ready(client):
    assert client.is_model_ready(MODEL)


def test_an_unknown_model_is_not_ready(client):
    assert not client.is_model_ready("nobody")


def test_server_metadata_names_the_server(client):
    metadata = client.get_server_metadata()
    assert metadata["name"]
    assert "version" in metadata


def test_model_metadata_is_the_servers_own(client, direct):
    metadata = client.get_model_metadata(MODEL)
    assert metadata == direct.get_model_metadata(MODEL)
    assert [(i["name"], i["datatype"]) for i in metadata["inputs"]] == [("x", "FP32")]
    assert {o["name"] for o in metadata["outputs"]} == {"label", "probabilities"}


def test_metadata_of_an_unknown_model_names_the_known_ones(client):
    with pytest.raises(InferenceServerException, match=MODEL):
        client.get_model_metadata("nobody")
