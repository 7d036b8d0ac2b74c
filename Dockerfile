# The miniature track in a container: the models in the box, on a CPU, without a network once it is built.
#
#   docker build -t reusebench .
#   mkdir -p track && docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/track:/track" reusebench cards run mini-sd-styles
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/track:/track" reusebench leaderboard rows
FROM python:3.11-slim

# PyTorch's wheels for CPUs alone are a tenth of the size: --build-arg PIP_ARGS="--extra-index-url ADDRESS OF THEIR INDEX"
ARG PIP_ARGS=""
WORKDIR /reusebench
COPY . .
RUN python -m pip install --no-cache-dir $PIP_ARGS --constraint constraints.txt ".[croissant,serve]"

# whoever runs it owns what it writes to the folder that is mounted, and has a place for caches
ENV HF_HUB_OFFLINE=1 HOME=/tmp REUSEBENCH_CACHE=/tmp/reusebench
WORKDIR /track
USER 1000:1000
ENTRYPOINT ["bench"]
CMD ["--help"]
