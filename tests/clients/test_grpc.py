"""The Triton project's gRPC clients, and grpcio's own, against servers that are real processes."""

import asyncio
import concurrent.futures
import queue
import threading
import time

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
import tritonclient.http
from grpc_health.v1 import health_pb2, health_pb2_grpc
from processes import DEMO, gateway_of, model_server
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException
from wire import MODEL
from wire import tensor as http_tensor

CLIENTS = 4
LOAD_SECONDS = 4.0
FALLBACK = f"""
      - embedded: {DEMO / "digits-logistic.onnx"}
      - default: {{label: -1, probabilities: [{", ".join(["0.1"] * 10)}]}}
"""
# What is late is asked elsewhere: a frozen server costs a client this long, once.
PATIENCE = """
    first-byte-timeout: 300ms
"""


def tensor(pixels):
    """The pixels as the gRPC client sends them: raw bytes beside the head."""
    asked = triton.InferInput("x", list(pixels.shape), "FP32")
    asked.set_data_from_numpy(pixels)
    return asked


@pytest.fixture(scope="module")
def rpc_servers():
    """Two model servers that speak gRPC too: each with its address there."""
    started = [model_server("--grpc", "127.0.0.1:0") for _ in range(2)]
    yield [(server, server.grpc()) for server in started]
    for server in started:
        assert server.stop() == 0


@pytest.fixture(scope="module", params=["oip-grpc", "oip"])
def front(request, rpc_servers, tmp_path_factory):
    """A gateway whose clients speak gRPC; its servers do too, or are translated for."""
    over_grpc = request.param == "oip-grpc"
    addresses = [rpc if over_grpc else server.address for server, rpc in rpc_servers]
    process = gateway_of(addresses, tmp_path_factory.mktemp("front"), request.param)
    yield process
    assert process.stop() == 0


@pytest.fixture(scope="module")
def over_grpc(rpc_servers, tmp_path_factory):
    """A gateway in front of servers that speak gRPC."""
    process = gateway_of(
        [rpc for _, rpc in rpc_servers], tmp_path_factory.mktemp("grpc"), "oip-grpc"
    )
    yield process
    assert process.stop() == 0


def test_a_client_is_served_as_by_a_server(front, digits):
    pixels, labels = digits
    with triton.InferenceServerClient(front.address) as client:
        assert client.is_server_live() and client.is_server_ready()
        assert client.is_model_ready(MODEL)
        assert client.get_server_metadata().name == "mainstay"
        assert [it.name for it in client.get_model_repository_index().models] == [MODEL]
        answer = client.infer(MODEL, [tensor(pixels[:100])], request_id="seven")
    assert answer.get_response().id == "seven"
    assert answer.get_response().model_name == MODEL
    assert not answer.get_response().parameters
    right = np.mean(answer.as_numpy("label").reshape(-1) == labels[:100])
    assert right > 0.9


def test_a_model_is_described(over_grpc):
    with triton.InferenceServerClient(over_grpc.address) as client:
        metadata = client.get_model_metadata(MODEL)
    assert [it.name for it in metadata.inputs] == ["x"]
    assert list(metadata.inputs[0].shape) == [-1, 64]


def test_both_ways_to_ask_give_the_same(over_grpc, digits):
    pixels, _ = digits
    with triton.InferenceServerClient(over_grpc.address) as rpc:
        one = rpc.infer(MODEL, [tensor(pixels[:20])])
    with tritonclient.http.InferenceServerClient(over_grpc.address) as http:
        other = http.infer(MODEL, [http_tensor(pixels[:20], False)])
    for name in ("label", "probabilities"):
        assert np.array_equal(one.as_numpy(name), other.as_numpy(name)), name


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests_pass_if_the_name_can_be_read(over_grpc, digits, algorithm):
    pixels, labels = digits
    with triton.InferenceServerClient(over_grpc.address) as client:
        asked = {"inputs": [tensor(pixels[:1])], "compression_algorithm": algorithm}
        if algorithm == "gzip":
            assert client.infer(MODEL, **asked).as_numpy("label")[0] == labels[0]
        else:
            with pytest.raises(InferenceServerException) as refused:
                client.infer(MODEL, **asked)
            assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_faults_have_statuses(front, digits):
    pixels, _ = digits
    table = [
        ("none", pixels[:1], "NOT_FOUND", "MS0202"),
        (MODEL, pixels[:1, :7], "INVALID_ARGUMENT", None),
    ]
    with triton.InferenceServerClient(front.address) as client:
        for model, rows, status, code in table:
            with pytest.raises(InferenceServerException) as refused:
                client.infer(model, [tensor(np.ascontiguousarray(rows))])
            assert refused.value.status() == f"StatusCode.{status}"
            assert code is None or code in refused.value.message()
        with pytest.raises(InferenceServerException) as refused:
            client.load_model(MODEL)
        assert refused.value.status() == "StatusCode.UNIMPLEMENTED"


def test_metadata_tells_the_request(over_grpc, digits):
    pixels, _ = digits
    with grpc.insecure_channel(over_grpc.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        asked = service_pb2.ModelInferRequest(model_name=MODEL)
        asked.inputs.add(name="x", datatype="FP32", shape=[1, 64])
        asked.raw_input_contents.append(pixels[:1].tobytes())
        _, call = stub.ModelInfer.with_call(asked, timeout=5)
        marks = dict(call.initial_metadata())
        assert len(marks["x-mainstay-request-id"]) == 16
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(service_pb2.ModelInferRequest(model_name="none"))
        assert dict(refused.value.trailing_metadata())["x-mainstay-error"] == "MS0202"
        with pytest.raises(grpc.RpcError) as unknown:
            channel.unary_unary("/some.Service/Call")(b"")
        assert unknown.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_health_is_told_and_watched(over_grpc):
    serving = health_pb2.HealthCheckResponse.SERVING
    with grpc.insecure_channel(over_grpc.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", MODEL, "inference.GRPCInferenceService"):
            asked = health_pb2.HealthCheckRequest(service=service)
            assert stub.Check(asked).status == serving
        with pytest.raises(grpc.RpcError) as unknown:
            stub.Check(health_pb2.HealthCheckRequest(service="none"))
        assert unknown.value.code() == grpc.StatusCode.NOT_FOUND
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=MODEL))
        assert next(watch).status == serving
        watch.cancel()


def test_the_asynchronous_client(front, digits):
    pixels, labels = digits

    async def ask():
        async with triton_aio.InferenceServerClient(front.address) as client:
            asked = [client.infer(MODEL, [tensor(pixels[at:at + 1])]) for at in range(20)]
            return await asyncio.gather(*asked)

    found = [answer.as_numpy("label")[0] for answer in asyncio.run(ask())]
    assert np.mean(np.array(found) == labels[:20]) > 0.8


def test_a_stream_answers_each_request(over_grpc, digits):
    pixels, labels = digits
    answers = queue.Queue()
    with triton.InferenceServerClient(over_grpc.address) as client:
        client.start_stream(callback=lambda result, error: answers.put((result, error)))
        for at in range(10):
            client.async_stream_infer(MODEL, [tensor(pixels[at:at + 1])], request_id=str(at))
        got = [answers.get(timeout=10) for _ in range(10)]
        client.stop_stream()
    assert [error for _, error in got] == [None] * 10
    assert [result.get_response().id for result, _ in got] == [str(at) for at in range(10)]
    assert np.mean([r.as_numpy("label")[0] == labels[int(r.get_response().id)] for r, _ in got]) > 0.8


@pytest.mark.parametrize("source", ["embedded", "default"])
def test_without_servers_answers_are_degraded_and_say_so(tmp_path, digits, source):
    pixels, labels = digits
    server = model_server("--grpc", "127.0.0.1:0")
    fallback = FALLBACK if source == "embedded" else FALLBACK.strip("\n").splitlines()[-1]
    process = gateway_of([server.grpc()], tmp_path, "oip-grpc", fallback)
    server.kill()
    with triton.InferenceServerClient(process.address) as client:
        answer = client.infer(MODEL, [tensor(pixels[:100])], request_id="seven")
    said = answer.get_response()
    assert said.parameters["degraded"].bool_param is True
    assert said.parameters["served_by"].string_param.startswith(source)
    assert said.id == "seven"
    if source == "embedded":
        assert np.mean(answer.as_numpy("label").reshape(-1) == labels[:100]) > 0.85
    else:
        assert answer.as_numpy("label").tolist() == [-1]
    with grpc.insecure_channel(process.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        asked = service_pb2.ModelInferRequest(model_name=MODEL)
        asked.inputs.add(name="x", datatype="FP32", shape=[1, 64])
        asked.raw_input_contents.append(pixels[:1].tobytes())
        _, call = stub.ModelInfer.with_call(asked, timeout=5)
        assert dict(call.initial_metadata())["x-mainstay-degraded"] == "true"
        # Whoever refuses lesser answers gets an error.
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(asked, metadata=[("x-mainstay-degrade", "never")])
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    assert process.stop() == 0


class Load:
    """Clients that ask one after the other, and what they were told."""

    def __init__(self, address, pixels):
        self.errors, self.answered = [], 0
        self._stop = threading.Event()
        self._pool = concurrent.futures.ThreadPoolExecutor(CLIENTS)
        self._running = [self._pool.submit(self._ask, address, pixels) for _ in range(CLIENTS)]

    def _ask(self, address, pixels):
        with triton.InferenceServerClient(address) as client:
            while not self._stop.is_set():
                try:
                    client.infer(MODEL, [tensor(pixels)], client_timeout=5)
                    self.answered += 1
                except InferenceServerException as error:
                    self.errors.append(str(error))

    def end(self):
        self._stop.set()
        concurrent.futures.wait(self._running)
        self._pool.shutdown()


@pytest.mark.parametrize("harm", ["kill", "freeze", "stop"])
def test_a_server_that_is_lost_under_load_costs_no_request(tmp_path, digits, harm):
    pixels, _ = digits
    servers = [model_server("--grpc", "127.0.0.1:0") for _ in range(2)]
    process = gateway_of([it.grpc() for it in servers], tmp_path, "oip-grpc", pool=PATIENCE)
    load = Load(process.address, pixels[:1])
    time.sleep(LOAD_SECONDS / 4)
    before = load.answered
    getattr(servers[0], harm)()
    time.sleep(LOAD_SECONDS)
    after = load.answered - before
    load.end()
    if harm == "freeze":
        servers[0].thaw()
    assert not load.errors, load.errors[:3]
    assert before > 20 and after > 40, (before, after)
    assert process.stop() == 0
    for server in servers:
        server.stop()


class Odd(service_pb2_grpc.GRPCInferenceServiceServicer):
    """A server of grpcio's that does what a test wants."""

    def __init__(self, infer=None, stream=None):
        self.infer, self.stream, self.asked = infer, stream, 0

    def ModelReady(self, request, context):
        return service_pb2.ModelReadyResponse(ready=True)

    def ServerReady(self, request, context):
        return service_pb2.ServerReadyResponse(ready=True)

    def ModelInfer(self, request, context):
        self.asked += 1
        return self.infer(request, context)

    def ModelStreamInfer(self, requests, context):
        self.asked += 1
        yield from self.stream(requests, context)


def serve(servicer, *options):
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8), options=options)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, f"127.0.0.1:{port}"


def echo(request, context):
    answer = service_pb2.ModelInferResponse(model_name=request.model_name, id=request.id)
    answer.outputs.add(name="label", datatype="INT64", shape=[1])
    answer.raw_output_contents.append(np.array([7], np.int64).tobytes())
    return answer


def failing(code, text):
    def fail(request, context):
        context.abort(code, text)

    return fail


@pytest.mark.parametrize("code, text, goes_on", [
    (grpc.StatusCode.UNAVAILABLE, "no", True),
    (grpc.StatusCode.INTERNAL, "broken", True),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "full", True),
    (grpc.StatusCode.UNKNOWN, "odd", True),
    (grpc.StatusCode.NOT_FOUND, "not here", True),
    (grpc.StatusCode.INVALID_ARGUMENT, "ungrateful shape: 50 % \u00e4", False),
    (grpc.StatusCode.PERMISSION_DENIED, "no", False),
])
def test_statuses_move_on_by_their_class(tmp_path, digits, code, text, goes_on):
    pixels, _ = digits
    bad, one = serve(Odd(failing(code, text)))
    good, other = serve(Odd(echo))
    process = gateway_of([one, other], tmp_path, "oip-grpc")
    told = []
    with triton.InferenceServerClient(process.address) as client:
        for _ in range(20):
            try:
                told.append(client.infer(MODEL, [tensor(pixels[:1])]).as_numpy("label")[0])
            except InferenceServerException as error:
                assert error.status() == f"StatusCode.{code.name}"
                assert error.message() == text
                told.append(None)
    assert (set(told) == {7}) if goes_on else (None in told)
    assert process.stop() == 0
    bad.stop(None), good.stop(None)


def test_few_streams_mean_more_connections_or_a_wait(tmp_path, digits):
    pixels, _ = digits

    def slowly(request, context):
        time.sleep(0.02)
        return echo(request, context)

    servicer = Odd(slowly)
    server, address = serve(servicer, ("grpc.max_concurrent_streams", 1))
    process = gateway_of([address], tmp_path, "oip-grpc")
    with triton.InferenceServerClient(process.address) as client:
        asked = [client.async_infer(MODEL, [tensor(pixels[:1])], callback=lambda *_: None)]
        pool = concurrent.futures.ThreadPoolExecutor(30)
        ask = lambda _: client.infer(MODEL, [tensor(pixels[:1])]).as_numpy("label")[0]  # noqa: E731
        assert list(pool.map(ask, range(120))) == [7] * 120
        assert len(asked) == 1
    assert servicer.asked == 121
    assert process.stop() == 0
    server.stop(None)


def test_a_stream_moves_on_until_it_has_begun_and_is_never_ended_well_after(tmp_path, digits):
    pixels, _ = digits

    def refusing(requests, context):
        next(requests)
        context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        yield

    def breaking(requests, context):
        for at, request in enumerate(requests):
            if at == 2:
                context.abort(grpc.StatusCode.INTERNAL, "cut")
            yield service_pb2.ModelStreamInferResponse(infer_response=echo(request, context))

    bad, one = serve(Odd(stream=refusing))
    good, other = serve(Odd(stream=breaking))
    process = gateway_of([one, other], tmp_path, "oip-grpc")
    for _ in range(4):
        asked = service_pb2.ModelInferRequest(model_name=MODEL, id="a")
        asked.inputs.add(name="x", datatype="FP32", shape=[1, 64])
        asked.raw_input_contents.append(pixels[:1].tobytes())
        with grpc.insecure_channel(process.address) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            answers, got = stub.ModelStreamInfer(iter([asked] * 5), timeout=10), []
            with pytest.raises(grpc.RpcError) as ended:
                got.extend(answer.infer_response.id for answer in iter(answers.__next__, None))
            assert got == [] or set(got) == {"a"}
            assert ended.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE)
    assert process.stop() == 0
    bad.stop(None), good.stop(None)


def test_a_stream_that_its_server_does_not_answer_goes_elsewhere(tmp_path, digits):
    pixels, _ = digits

    def hanging(requests, context):
        next(requests)
        time.sleep(3)
        context.abort(grpc.StatusCode.UNAVAILABLE, "too late")
        yield

    def answering(requests, context):
        for request in requests:
            yield service_pb2.ModelStreamInferResponse(infer_response=echo(request, context))

    bad, one = serve(Odd(stream=hanging))
    good, other = serve(Odd(stream=answering))
    process = gateway_of([one, other], tmp_path, "oip-grpc", pool=PATIENCE)
    for _ in range(4):
        answers = queue.Queue()
        with triton.InferenceServerClient(process.address) as client:
            client.start_stream(callback=lambda result, error: answers.put((result, error)))
            for at in range(3):
                client.async_stream_infer(MODEL, [tensor(pixels[:1])], request_id=str(at))
                result, error = answers.get(timeout=10)
                assert error is None, error
                assert result.get_response().id == str(at)
            client.stop_stream()
    assert process.stop() == 0
    bad.stop(None), good.stop(None)


def test_a_stream_too_large_to_be_kept_loses_nothing(tmp_path, digits):
    pixels, _ = digits

    def answering(requests, context):
        for request in requests:
            yield service_pb2.ModelStreamInferResponse(infer_response=echo(request, context))

    server, address = serve(Odd(stream=answering))
    process = gateway_of([address], tmp_path, "oip-grpc", limits="limits: {replay: 1KiB}")
    large = np.repeat(pixels[:1], 50, axis=0)
    answers = queue.Queue()
    with triton.InferenceServerClient(process.address) as client:
        client.start_stream(callback=lambda result, error: answers.put((result, error)))
        for at in range(20):
            client.async_stream_infer(MODEL, [tensor(large)], request_id=str(at))
        got = [answers.get(timeout=10) for _ in range(20)]
        client.stop_stream()
    assert [error for _, error in got] == [None] * 20
    assert [result.get_response().id for result, _ in got] == [str(at) for at in range(20)]
    assert process.stop() == 0
    server.stop(None)


def test_a_stream_whose_server_dies_ends_with_an_error(tmp_path, digits):
    pixels, _ = digits
    server = model_server("--grpc", "127.0.0.1:0")
    process = gateway_of([server.grpc()], tmp_path, "oip-grpc")
    answers = queue.Queue()
    with triton.InferenceServerClient(process.address) as client:
        client.start_stream(callback=lambda result, error: answers.put((result, error)))
        client.async_stream_infer(MODEL, [tensor(pixels[:1])])
        result, error = answers.get(timeout=10)
        assert error is None and result is not None
        server.kill()
        _, error = answers.get(timeout=10)
        assert error.status() == "StatusCode.UNAVAILABLE"
        assert "MS0251" in error.message()
    assert process.stop() == 0
