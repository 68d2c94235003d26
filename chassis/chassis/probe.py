"""`python -m chassis.probe`: whether the process in this container is ready, for a container's health check.

It asks what the process's own variables name: the gateway's /readyz at GATEWAY_PORT, else the gRPC health of the
service at HEALTH_PORT or, without one, at GRPC_PORT. Exits with 0 when the answer is yes and with 1 and one line when
it is not. Neither GATEWAY_PORT nor GRPC_PORT may speak TLS.
"""

import os
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SECONDS = 4.0


def http_fault(port: int) -> str:
    """What is wrong with the gateway on `port`, or nothing."""
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return "" if answer.status == HTTPStatus.OK else answer.read().decode()
    except (OSError, HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()


def grpc_fault(port: int) -> str:
    """What is wrong with the service on `port`, or nothing."""
    serving = health_pb2.HealthCheckResponse.SERVING
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=SECONDS
            )
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return (
        ""
        if reply.status == serving
        else health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)
    )


def main() -> None:
    """The command line."""
    if port := os.environ.get("GATEWAY_PORT"):
        fault = http_fault(int(port))
    elif port := os.environ.get("HEALTH_PORT") or os.environ.get("GRPC_PORT"):
        fault = grpc_fault(int(port))
    else:
        fault = "neither GATEWAY_PORT nor GRPC_PORT is set"
    sys.exit(fault or 0)


if __name__ == "__main__":
    main()
