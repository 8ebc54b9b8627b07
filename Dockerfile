# The service without a shell, a package manager or anything that builds.
#
#   docker build -t headrace .
#
# Both bases can be others: the first needs Python 3.11 with venv, the second Python 3.11 as
# /usr/bin/python3.  Without a network, PIP_NO_INDEX=1 and PIP_FIND_LINKS=<mounted directory>.
ARG BUILD_BASE=docker.io/library/python:3.11-slim-bookworm
ARG RUNTIME_BASE=gcr.io/distroless/python3-debian12:nonroot

FROM ${BUILD_BASE} AS build
ARG PIP_NO_INDEX=
ARG PIP_FIND_LINKS=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
RUN python3 -m venv /build
RUN --mount=type=bind,source=requirements-build.lock,target=/src/requirements-build.lock \
    /build/bin/pip install -q --require-hashes -r /src/requirements-build.lock
RUN --mount=type=bind,source=requirements-image.lock,target=/src/requirements-image.lock \
    /build/bin/pip install -q --no-compile --require-hashes --only-binary :all: \
    --target /opt/headrace/lib -r /src/requirements-image.lock
COPY pyproject.toml README.md LICENSE /src/
COPY service /src/service
COPY image/sbom.py /src/sbom.py
# Unchecked hashes: a time stamp would make each build another one, and, once the image's files
# have lost theirs, make Python compile everything again at each start.
RUN rm -r /opt/headrace/lib/bin \
    && /build/bin/pip install -q --no-compile --no-deps --no-build-isolation \
    --target /opt/headrace/lib /src \
    && mkdir /opt/headrace/bin \
    && mv /opt/headrace/lib/bin/headrace /opt/headrace/bin/headrace \
    && rm -r /opt/headrace/lib/bin \
    && sed -i '1s|.*|#!/usr/bin/python3|' /opt/headrace/bin/headrace \
    && find /opt/headrace/lib -depth -type d -name tests -exec rm -r {} + \
    && python3 /src/sbom.py /opt/headrace/lib > /opt/headrace/sbom.cdx.json \
    && python3 -m compileall -q -j 2 --invalidation-mode unchecked-hash /opt/headrace/lib

FROM ${RUNTIME_BASE}
LABEL org.opencontainers.image.title="headrace" \
      org.opencontainers.image.description="Kafka and WebSocket event processing" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/headrace /opt/headrace
# The admin port must answer the kubelet; the public port stays on loopback until it is configured.
ENV PATH=/opt/headrace/bin:/usr/bin:/bin PYTHONPATH=/opt/headrace/lib \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HEADRACE_ADMIN__HOST=0.0.0.0
USER 65532:65532
WORKDIR /tmp
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/opt/headrace/bin/headrace", "healthcheck"]
ENTRYPOINT ["/opt/headrace/bin/headrace"]
CMD ["run"]
