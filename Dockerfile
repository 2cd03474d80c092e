FROM python:3.11-slim-bookworm

# Which PyTorch: `cuda`, its default build from PyPI, or `cpu`, a fifth of the size. The CPU build is on PyTorch's own
# index, which TORCH_OPTIONS names to pip ("--index-url ..." or "--find-links ...").
ARG TORCH_BUILD=cuda
ARG TORCH_OPTIONS=""

# Under Apptainer the home folder is the user's: what they have installed there for another Python stays out.
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONNOUSERSITE=1 \
    PYTHONUNBUFFERED=1

WORKDIR /opt/bids_cascade

# From what changes seldom to what changes often: PyTorch, the other dependencies, the app.
COPY requirements/torch-cuda.txt requirements/
RUN if [ "$TORCH_BUILD" = cuda ]; then \
        pip install --require-hashes --no-deps ${TORCH_OPTIONS} --requirement requirements/torch-cuda.txt; \
    else \
        pip install --no-deps ${TORCH_OPTIONS} \
            "$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements/torch-cuda.txt)+${TORCH_BUILD}"; \
    fi \
    # What is there to be tested and compiled against.
    && find /usr/local/lib -type d \( -path '*/torch/test' -o -path '*/torch/include' \) -prune -exec rm -r {} +

# Without isolation, what is only to be had as source is built with the locked setuptools, which comes first.
COPY requirements/common.txt requirements/
RUN sed -n '/^setuptools==/,/[^\\]$/p' requirements/common.txt > requirements/setuptools.txt \
    && pip install --require-hashes --no-deps --requirement requirements/setuptools.txt \
    && pip install --require-hashes --no-deps --no-build-isolation --requirement requirements/common.txt \
    && find /usr/local/lib -type d -path '*-packages/*/tests' -prune -exec rm -r {} +

COPY . ./
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
RUN pip install --no-deps --no-build-isolation --editable . \
    && python -m compileall -q bids_cascade \
    && chmod -R a+rX .

LABEL org.opencontainers.image.title="bids_cascade" \
    org.opencontainers.image.description="BIDS App that segments white-matter lesions of multiple sclerosis" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION" \
    org.opencontainers.image.source="$SOURCE"

ENTRYPOINT ["/opt/bids_cascade/run.py"]
