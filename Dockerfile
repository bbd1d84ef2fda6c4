# The page and the API in a container: docker build -t deepfake-app . && docker run --rm -p 7860:7860 deepfake-app
# It is also what a Hugging Face Space builds, see app/README.md.
FROM python:3.11-slim

# The index of PyTorch's CPU builds keeps the image small; without it pip installs the CUDA build.
ARG TORCH_INDEX=""

ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 HF_HOME=/home/user/.cache/huggingface

# Spaces run containers as user 1000.
RUN useradd --create-home --uid 1000 user
WORKDIR /home/user/project

COPY constraints.txt ./
RUN pip install --constraint constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch==2.13.0

COPY --chown=user . .
RUN pip install --constraint constraints.txt --requirement app/requirements.txt

USER 1000
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/ping', timeout=4)"]
CMD ["python", "-m", "app", "--host", "0.0.0.0", "--port", "7860"]
