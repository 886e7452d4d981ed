# One image for every process of the platform; compose.yaml says which command each one runs.

FROM python:3.12-slim AS build
WORKDIR /build
RUN python -m venv /opt/venv
COPY pyproject.toml hatch_build.py constraints.txt README.md LICENSE dagster.yaml workspace.yaml ./
COPY migrations ./migrations
COPY anomaly_platform ./anomaly_platform
RUN /opt/venv/bin/pip install --no-cache-dir --constraint constraints.txt .

FROM python:3.12-slim
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin anomaly \
    && install -d -o anomaly -g anomaly -m 0750 /data /run/keys
COPY --from=build /opt/venv /opt/venv
COPY dagster.yaml deploy/dagster/workspace.yaml /opt/dagster/
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MPLBACKEND=Agg \
    NUMBA_CACHE_DIR=/tmp/numba \
    DAGSTER_DISABLE_TELEMETRY=yes \
    DAGSTER_HOME=/data/dagster \
    ANOMALY_HOME=/data \
    ANOMALY_API_HOST=0.0.0.0 \
    ANOMALY_API_PORT=8000 \
    ANOMALY_LOG_FORMAT=json
USER anomaly
WORKDIR /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=180s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/live', timeout=3)"]
CMD ["anomaly", "api"]
