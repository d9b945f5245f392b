# syntax=docker/dockerfile:1
# The compiler stays in the first stage; the second has Python, OpenSSL's libraries and one virtual
# environment. Runs as nobody in particular, on a read-only root file system:
#   docker run --read-only --tmpfs /tmp -p 80:80 -v ./fastproxy.toml:/etc/fastproxy/fastproxy.toml fastproxy

ARG PYTHON=3.13

FROM python:${PYTHON}-slim-bookworm AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev libssl-dev zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/fastproxy
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
COPY pyproject.toml setup.py README.md LICENSE ./
COPY fastproxy fastproxy
COPY controller controller
RUN /opt/fastproxy/bin/pip install . \
 && /opt/fastproxy/bin/fastproxy version \
 && /opt/fastproxy/bin/pip uninstall --yes pip \
 && find /opt/fastproxy -name '*.so' -exec strip --strip-unneeded {} +

FROM python:${PYTHON}-slim-bookworm
# What the engine is linked with, for TLS and compression; the certificates are the roots of today.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libssl3 zlib1g ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 65532 fastproxy \
 && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin fastproxy
COPY --from=build /opt/fastproxy /opt/fastproxy
ENV PATH=/opt/fastproxy/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /
EXPOSE 80 443 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["fastproxy"]
CMD ["run"]
