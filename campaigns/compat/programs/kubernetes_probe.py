"""Health over gRPC as Kubernetes asks for it: a Check of one service within a second, no key."""

import grpc
from checking import GRPC, equal, holds, run
from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVICE = "nextword.v1.TextGenerationService"
# The kubelet's own word for itself, which servers may see.
AGENT = (("grpc.primary_user_agent", "kube-probe/1.34"),)
SECONDS = 30


def main() -> None:
    with grpc.insecure_channel(GRPC, options=AGENT) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", SERVICE):
            asked = health_pb2.HealthCheckRequest(service=name)
            status = health.Check(asked, timeout=SECONDS).status
            equal(f"health of {name!r}", status, health_pb2.HealthCheckResponse.SERVING)
        first = next(iter(health.Watch(health_pb2.HealthCheckRequest(), timeout=SECONDS)))
        equal("the first message of Watch", first.status, health_pb2.HealthCheckResponse.SERVING)
        try:
            health.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=SECONDS)
        except grpc.RpcError as error:
            equal("health of an unknown service", error.code(), grpc.StatusCode.NOT_FOUND)
        else:
            holds("health of an unknown service is an error", False)


run(main)
