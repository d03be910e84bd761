"""OpenAI's own package against the gateway: what it reads is what users of the API have."""

import asyncio
import pathlib
import subprocess

import openai
import pytest
from processes import ROOT, Process, binary

WORDS = "1 2 3 4 5 6 7 8 "

CONFIG = """
listen: {{http: "127.0.0.1:0"}}
admin: {{address: "127.0.0.1:0"}}
state-dir: "{folder}"
defaults:
  pool:
    protocol: openai
    streams: {{first-token: 1s, inter-token: 1s}}
pools:
{pools}
models:
  counter:
    deadline: 10s
    continuation: {continuation}
    chain:
{steps}
"""


def faults() -> pathlib.Path:
    """The server that misbehaves by script, built where it is missing."""
    program = binary().with_name("mainstay-faults")
    if not program.exists():
        subprocess.run(["cargo", "build", "-q", "-p", "mainstay-faults"], cwd=ROOT, check=True)
    return program


class Server:
    """A language model that counts, and fails as its script says."""

    def __init__(self, folder: pathlib.Path, number: int, script: str):
        file = folder / f"script{number}.yaml"
        file.write_text(script)
        command = [faults(), "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]
        self._process = subprocess.Popen(
            [*command, "--script", file], stdout=subprocess.PIPE, text=True
        )
        self.url = self._process.stdout.readline().partition("listening on ")[2].strip()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


@pytest.fixture
def before(tmp_path):
    """Starts a gateway before servers that play these scripts; gives the address of its API."""
    started = []

    def start(*scripts: str, continuation: str = "none") -> str:
        servers = [Server(tmp_path, at, script) for at, script in enumerate(scripts)]
        started.extend(servers)
        pools = [f'  p{at}: {{endpoints: ["{it.url}"]}}' for at, it in enumerate(servers)]
        steps = [f"      - {{pool: p{at}, equivalent: true}}" for at in range(1, len(servers))]
        config = tmp_path / "mainstay.yaml"
        text = CONFIG.format(
            folder=tmp_path,
            pools="\n".join(pools),
            steps="\n".join(["      - {pool: p0}", *steps]),
            continuation=continuation,
        )
        config.write_text(text)
        gateway = Process("serve", "--config", str(config))
        started.append(gateway)
        return f"http://{gateway.address}/v1"

    yield start
    for process in reversed(started):
        process.stop()


def connected(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key="of-the-client", max_retries=0, timeout=20)


MESSAGES = [{"role": "user", "content": "count"}]


def words(stream) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def test_every_call(before):
    client = connected(before("{}"))
    chat = client.chat.completions.create(model="counter", messages=MESSAGES)
    assert chat.choices[0].message.content == WORDS
    assert chat.usage.completion_tokens == 8
    text = client.completions.create(model="counter", prompt="count")
    assert text.choices[0].text == WORDS
    vector = client.embeddings.create(model="counter", input="count", encoding_format="float")
    assert vector.data[0].embedding == [0.25, -0.5, 1.0]
    response = client.responses.create(model="counter", input="count")
    assert response.output_text == WORDS
    assert [model.id for model in client.models.list()] == ["counter"]
    assert client.models.retrieve("counter").id == "counter"


def test_every_stream(before):
    client = connected(before("{}"))
    options = {"include_usage": True}
    with client.chat.completions.create(
        model="counter", messages=MESSAGES, stream=True, stream_options=options
    ) as stream:
        chunks = list(stream)
    assert words(chunks) == WORDS
    assert chunks[-1].usage.completion_tokens == 8
    with client.completions.create(model="counter", prompt="count", stream=True) as stream:
        assert "".join(chunk.choices[0].text for chunk in stream if chunk.choices) == WORDS
    with client.responses.create(model="counter", input="count", stream=True) as stream:
        events = list(stream)
    said = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(said) == WORDS
    assert events[-1].type == "response.completed"


def test_the_same_without_waiting(before):
    url = before("{}")

    async def ask():
        async with openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0) as client:
            chat = await client.chat.completions.create(model="counter", messages=MESSAGES)
            stream = await client.chat.completions.create(
                model="counter", messages=MESSAGES, stream=True
            )
            said = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
            vector = await client.embeddings.create(
                model="counter", input="count", encoding_format="float"
            )
            response = await client.responses.create(model="counter", input="count")
            return chat.choices[0].message.content, "".join(said), vector, response.output_text

    chat, said, vector, response = asyncio.run(ask())
    assert chat == said == response == WORDS
    assert len(vector.data[0].embedding) == 3


def test_mistakes_are_raised_as_what_they_are(before):
    client = connected(before("{rules: [{behave: 400, code: context_length_exceeded}]}"))
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="nobody", messages=MESSAGES)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(model="counter", messages=MESSAGES)
    assert long.value.code == "context_length_exceeded"


def test_a_failure_before_the_first_word_is_never_seen(before):
    for script in ["behave: cut", "behave: stall", "behave: error-inside", "behave: 500"]:
        client = connected(before(f"{{rules: [{{{script}}}]}}", "{}"))
        with client.chat.completions.create(
            model="counter", messages=MESSAGES, stream=True
        ) as stream:
            assert words(stream) == WORDS, script


CUT = ["cut", "stall", "malformed-chunk"]


@pytest.mark.parametrize("behave", CUT)
def test_a_cut_stream_raises(before, behave):
    client = connected(before(f"{{rules: [{{behave: {behave}, events: 3}}]}}"))
    said = []
    with pytest.raises(openai.APIError) as cut:
        stream = client.chat.completions.create(model="counter", messages=MESSAGES, stream=True)
        said.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert cut.value.code == "MS0261"
    said = []
    with pytest.raises(openai.APIError):
        stream = client.responses.create(model="counter", input="count", stream=True)
        for event in stream:
            said.append(event.type)
    assert "response.completed" not in said


def test_a_stream_that_does_not_end_properly_raises(before):
    client = connected(before("{rules: [{behave: no-done}]}"))
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model="counter", messages=MESSAGES, stream=True))


@pytest.mark.parametrize("behave", CUT)
def test_a_cut_stream_goes_on_where_the_model_says_so(before, behave):
    script = f"{{rules: [{{behave: {behave}, events: 3}}]}}"
    client = connected(before(script, "{}", continuation="prefix"))
    with client.chat.completions.create(
        model="counter", messages=MESSAGES, stream=True, max_tokens=8
    ) as stream:
        chunks = list(stream)
    assert words(chunks) == WORDS
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_what_may_not_go_on_raises(before):
    script = "{rules: [{behave: cut, events: 3}]}"
    client = connected(before(script, "{}", continuation="prefix"))
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    with pytest.raises(openai.APIError):
        list(
            client.chat.completions.create(
                model="counter", messages=MESSAGES, stream=True, tools=[tool]
            )
        )
