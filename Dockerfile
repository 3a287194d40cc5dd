# recam on CPUs:   docker build -t recam . && docker run --rm -v "$PWD:/data" recam run --data folder:photos
# with CUDA:       docker build -t recam --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
#                  docker run --rm --gpus all --shm-size 8g -v "$PWD:/data" recam run --data folder:photos
FROM python:3.12-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 HOME=/tmp

RUN PIP_INDEX_URL=$TORCH_INDEX pip install torch torchvision
COPY pyproject.toml README.md LICENSE /recam/
COPY src /recam/src
RUN pip install '/recam[demo,onnx]'

# Runs, masks and reports are written below /data; give --user "$(id -u):$(id -g)" to own them.
WORKDIR /data
ENTRYPOINT ["recam"]
CMD ["--help"]
