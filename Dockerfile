FROM python:3.11-slim-bookworm

# Options for the installation of torch alone, for instance "--find-links FOLDER" or the index of its CPU builds;
# empty takes the default build, which on Linux may be the large one for GPUs.
ARG TORCH_OPTIONS=""

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1

WORKDIR /opt/bids_cascade

# Dependencies first: this layer is built anew only when pyproject.toml changes.
COPY pyproject.toml ./
RUN python -c "import tomllib; \
print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > /tmp/requirements.txt \
    && pip install ${TORCH_OPTIONS} "$(grep '^torch==' /tmp/requirements.txt)" \
    && pip install -r /tmp/requirements.txt \
    && rm /tmp/requirements.txt

COPY . ./
RUN pip install --no-deps --editable . && python -m compileall -q bids_cascade

ENTRYPOINT ["/opt/bids_cascade/run.py"]
