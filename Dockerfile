# Two images: `service` serves the models in /models, `training` publishes new versions there.
# `make image` builds both; BuildKit and the classic builder read this file alike.
# Why it is cut this way: docs/decisions/0070-images.md.

# A Debian image with Python 3.11 to 3.14.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm


# Our own code as wheels, with kernels for every processor of this architecture.
FROM ${PYTHON_IMAGE} AS wheels
RUN apt-get update -qq \
    && apt-get install -qq -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY constraints.txt ./
RUN python -m pip install --quiet --constraint constraints.txt hatchling
COPY LICENSE README.md pyproject.toml ./
COPY setup/build_hook.py setup/
COPY clients/python clients/python
COPY model model
COPY service service
COPY training training
RUN NEXTWORD_REQUIRE_KERNELS=1 python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels . ./clients/python


# torch with what it and all of ours need; the largest layer, and the one that changes least.
FROM ${PYTHON_IMAGE} AS torch-with-pip
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PATH=/opt/nextword/bin:$PATH
WORKDIR /build
RUN python -m venv /opt/nextword
# Empty takes a build without CUDA; a GPU needs the index that fits its driver.
ARG TORCH_INDEX=
COPY constraints.txt ./
COPY setup/install_torch.py setup/
# Its own test programs, headers and protobuf compiler are a quarter of its size.
RUN TORCH_INDEX="${TORCH_INDEX}" python setup/install_torch.py \
    && python -m pip install --quiet --constraint constraints.txt torch numpy \
    && cd /opt/nextword/lib/python3*/site-packages/torch \
    && rm -rf include test bin/protoc* bin/test_* bin/*StoreTest

FROM torch-with-pip AS torch
RUN python -m pip uninstall --quiet --yes pip


# What each image has beside that: packages first, so that a change of the code installs nothing.
FROM torch-with-pip AS service-packages
COPY setup/list_requirements.py setup/
COPY pyproject.toml ./
COPY clients/python/pyproject.toml clients/python/
RUN python setup/list_requirements.py pyproject.toml:service clients/python/pyproject.toml:cli \
        > requirements.txt \
    && python -m pip install --quiet --prefix /packages --constraint constraints.txt \
        --requirement requirements.txt
COPY --from=wheels /wheels /wheels
RUN python -m pip install --quiet --prefix /code --no-deps /wheels/*.whl \
    && rm -r /code/bin/nextword-train /code/lib/python3*/site-packages/training

FROM torch-with-pip AS training-packages
COPY setup/list_requirements.py setup/
COPY pyproject.toml ./
RUN python setup/list_requirements.py pyproject.toml:training > requirements.txt \
    && python -m pip install --quiet --prefix /packages --constraint constraints.txt \
        --requirement requirements.txt
COPY --from=wheels /wheels /wheels
# `--init-from bundled` looks for artifacts/ beside the packages.
RUN python -m pip install --quiet --prefix /code --no-deps /wheels/nextword_service-*.whl \
    && rm -r /code/bin/nextword-serve /code/lib/python3*/site-packages/service \
    && cd /code/lib/python3*/site-packages && ln -s /models artifacts


# The bundled model, readable for everybody whatever the umask of the checkout was.
FROM ${PYTHON_IMAGE} AS models
COPY artifacts/fairytales/1 /models/fairytales/1
RUN chmod -R u=rwX,go=rX /models


FROM ${PYTHON_IMAGE} AS runtime
# On a GPU, kernels are compiled for it when an engine or a training run starts.
ARG TORCH_INDEX=
RUN case "${TORCH_INDEX}" in \
        */cu*) apt-get update -qq \
            && apt-get install -qq -y --no-install-recommends gcc libc6-dev \
            && rm -rf /var/lib/apt/lists/* ;; \
    esac
# The trainer publishes into /models as this user; the bundled version itself stays root's.
RUN groupadd --gid 10001 nextword \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp \
        --shell /usr/sbin/nologin nextword \
    && mkdir -p /models/fairytales /srv/nextword \
    && chown 10001:10001 /models /models/fairytales \
    && ln -s /models /srv/nextword/artifacts
ENV PATH=/opt/nextword/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /srv/nextword
COPY --from=torch /opt/nextword /opt/nextword
COPY --from=models /models/fairytales/1 /models/fairytales/1
COPY LICENSE NOTICE ./
STOPSIGNAL SIGTERM
LABEL org.opencontainers.image.licenses="Apache-2.0"


FROM runtime AS training
COPY --from=training-packages /packages /opt/nextword
COPY --from=training-packages /code /opt/nextword
# Progress for Prometheus, where it is asked for.
EXPOSE 9091
USER 10001:10001
ENTRYPOINT ["nextword-train"]
CMD ["--help"]
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="Nextword training" \
    org.opencontainers.image.description="Trains a small language model on a text and publishes it in /models." \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"


FROM runtime AS service
COPY --from=service-packages /packages /opt/nextword
COPY --from=service-packages /code /opt/nextword
ENV NEXTWORD_HOST=0.0.0.0 NEXTWORD_MANAGEMENT_PORT=9090 NEXTWORD_MODELS=/models
# REST, gRPC, health and metrics.
EXPOSE 8000 50051 9090
USER 10001:10001
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD exec python -m nextword.probe "http://127.0.0.1:${NEXTWORD_MANAGEMENT_PORT}"
ENTRYPOINT ["nextword-serve"]
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="Nextword service" \
    org.opencontainers.image.description="Serves the models in /models over REST (8000) and gRPC (50051)." \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
