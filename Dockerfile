# One image for each process: docker build --build-arg SERVICE=auth --tag propmubi/auth .
# SERVICE is gateway, auth, agents, crm or projects. All but the last few hundred kilobytes is the same in all five, so
# it is built, pushed and kept once. Any of the services' images migrates its own schema (python -m chassis.migrate).
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG SERVICE

# The locked packages, in an environment of their own: what changes least lies lowest. They are compiled here, because
# the root file system of a running container is read-only; of the two largest, only the part that anybody imports.
FROM ${PYTHON_IMAGE} AS dependencies
RUN python -m venv --without-pip /opt/venv
COPY requirements.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/venv/bin/python --disable-pip-version-check --no-input install --quiet --root-user-action=ignore \
        --no-compile --require-hashes --no-deps --only-binary=:all: --requirement requirements.lock \
    && python -m compileall -q -j 0 -x '/(phonenumbers|twilio)/' /opt/venv \
    && /opt/venv/bin/python -c 'import phonenumbers, twilio.rest.api.v2010.account.message'

FROM ${PYTHON_IMAGE} AS runtime
# Nothing is installed from here on, neither by us nor by whoever breaks in.
RUN pip uninstall --quiet --yes --root-user-action=ignore pip setuptools wheel \
    && rm -rf /usr/local/lib/python3.11/ensurepip \
    && python -m compileall -q -j 0 /usr/local/lib/python3.11
COPY --from=dependencies /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
COPY protos/gen/propmubi propmubi
COPY chassis/chassis chassis
RUN python -m compileall -q -j 0 .

FROM runtime AS gateway
COPY gateway/gateway gateway
ENV GATEWAY_PORT=8000 METRICS_PORT=9100
CMD ["python", "-m", "gateway"]

FROM runtime AS auth
COPY services/auth ./
ENV GRPC_PORT=50051 METRICS_PORT=9101
CMD ["python", "-m", "auth_service"]

FROM runtime AS agents
COPY services/agents ./
ENV GRPC_PORT=50052 METRICS_PORT=9102
CMD ["python", "-m", "agents_service"]

FROM runtime AS crm
COPY services/crm ./
ENV GRPC_PORT=50053 METRICS_PORT=9103
CMD ["python", "-m", "crm_service"]

FROM runtime AS projects
COPY services/projects ./
ENV GRPC_PORT=50054 METRICS_PORT=9104
CMD ["python", "-m", "projects_service"]

FROM ${SERVICE}
RUN python -m compileall -q -j 0 .
# Numeric, so that Kubernetes can see that it is not root. The account owns nothing.
USER 10001:10001
EXPOSE ${GATEWAY_PORT:-${GRPC_PORT}} ${METRICS_PORT}
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-m", "chassis.probe"]
ARG SERVICE
ARG VERSION=development
ARG REVISION=unknown
LABEL org.opencontainers.image.title="PropMubi ${SERVICE}" \
    org.opencontainers.image.description="The ${SERVICE} process of the PropMubi real-estate platform" \
    org.opencontainers.image.vendor="PropMubi" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
