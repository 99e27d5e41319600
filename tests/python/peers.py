"""WebSockets and gRPC with Python's libraries on both sides: `python3 peers.py`.

It starts a server for each, and writes their ports. Then, a line at a time: `websocket URL TOKEN` and
`grpc ADDRESS TOKEN` talk to them through the gateway, compare what comes back, and write `done`.
"""

import asyncio
import sys

import grpc
import websockets


async def echo(socket):
    async for message in socket:
        await socket.send(message)


class Orders(grpc.GenericRpcHandler):
    """All four shapes, with bytes as messages."""

    def service(self, details):
        shapes = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Download": grpc.unary_stream_rpc_method_handler(self.download),
            "Upload": grpc.stream_unary_rpc_method_handler(self.upload),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
        }
        return shapes.get(details.method.rpartition("/")[2])

    async def unary(self, request, context):
        if request == b"fail":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such order", (("x-trailer", "came"),))
        subject = dict(context.invocation_metadata())["x-auth-subject"]
        return subject.encode() + b": " + request

    async def download(self, request, context):
        for n in range(100):
            yield bytes([n]) * 10_000

    async def upload(self, requests, context):
        return str(sum([len(part) async for part in requests])).encode()

    async def chat(self, requests, context):
        async for part in requests:
            yield part


async def talk(url, token):
    headers = {"authorization": f"Bearer {token}"}
    async with websockets.connect(url, extra_headers=headers, max_size=None) as socket:
        for message in ["text", "", "ü" * 100_000, b"\0" * 1_000_000]:
            await socket.send(message)
            assert await socket.recv() == message
        await socket.send(["one ", "two"])
        assert await socket.recv() == "one two"
        await asyncio.wait_for(await socket.ping(), 10)
    assert socket.close_code == 1000, socket.close_code


async def call(address, token):
    metadata = (("authorization", f"Bearer {token}"),)
    async with grpc.aio.insecure_channel(address) as channel:
        unary = channel.unary_unary("/orders.Orders/Unary")
        assert await unary(b"hello", metadata=metadata) == b"alice: hello"
        try:
            await unary(b"fail", metadata=metadata)
            raise AssertionError("it did not fail")
        except grpc.aio.AioRpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND, error
            assert error.details() == "no such order", error
            assert ("x-trailer", "came") in list(error.trailing_metadata()), error
        try:
            await unary(b"hello", metadata=(("authorization", "Bearer x"),))
            raise AssertionError("it was not refused")
        except grpc.aio.AioRpcError as error:
            assert error.code() == grpc.StatusCode.UNAUTHENTICATED, error
        download = channel.unary_stream("/orders.Orders/Download")
        parts = [part async for part in download(b"", metadata=metadata)]
        assert parts == [bytes([n]) * 10_000 for n in range(100)]
        upload = channel.stream_unary("/orders.Orders/Upload")
        parts = iter([b"x" * 50_000] * 20)
        assert await upload(parts, metadata=metadata) == b"1000000"
        chat = channel.stream_stream("/orders.Orders/Chat")(metadata=metadata)
        for word in [b"one", b"two"]:
            await chat.write(word)
            assert await chat.read() == word
        await chat.done_writing()
        assert await chat.read() == grpc.aio.EOF


async def main():
    server = await websockets.serve(echo, "127.0.0.1", 0, max_size=None)
    orders = grpc.aio.server()
    orders.add_generic_rpc_handlers((Orders(),))
    port = orders.add_insecure_port("127.0.0.1:0")
    await orders.start()
    print(server.sockets[0].getsockname()[1], port, flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        what, *rest = line.split()
        await {"websocket": talk, "grpc": call}[what](*rest)
        print("done", flush=True)


asyncio.run(main())
