"""grpcio's asyncio server on uvloop, answering every ModelInfer with the same bytes."""

from __future__ import annotations

import asyncio
import signal
import sys

import grpc
import grpc.aio
import uvloop


async def main(answer: bytes) -> None:
    async def infer(_request: bytes, _context: object) -> bytes:
        return answer

    server = grpc.aio.server()
    handlers = {"ModelInfer": grpc.unary_unary_rpc_method_handler(infer)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers),)
    )
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await server.stop(1)


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as file:
        uvloop.run(main(file.read()))
