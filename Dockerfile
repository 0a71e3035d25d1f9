# Striate's three images. `service` comes last, so it is the one that is built when none is named.
#
#   service-cpu   OpenVINO on CPUs; no TensorFlow inside. 363 MB: Debian and Python 134, OpenVINO 97, NumPy 56, obstore 16, rest 60
#   training      the command `striate` in /data, where runs/ and exports/ appear: training, retraining jobs, `score`. 1.7 GB, and 0.1 of Arrow
#   service       TensorFlow with its CUDA wheels, for NVIDIA GPUs; OpenVINO where there is none. 6.2 GB, and 0.1 of Arrow
#
#   docker build --target service-cpu --tag striate:service-cpu .
#   docker run --read-only --tmpfs /tmp --publish 127.0.0.1:8000:8000 --env SERVICE_ALLOW_ANONYMOUS=1 \
#     --volume ./exports:/exports:ro striate:service-cpu
#
# Where no container engine runs, deploy/build-images.sh builds them, on a base of its own.

ARG BASE=python:3.11-slim-bookworm

# Packages, in /opt/striate. pip stays beside it, in /opt/pip: no image has anything to install. They are compiled here,
# as root file systems are read-only; unchecked, as copies from stage to stage round times, and half would look stale.
# The lock files (deploy/lock.sh) have every package with the checksums of its files.

FROM ${BASE} AS packages-cpu
# pip's own settings: where packages come from, if not from PyPI. Not every builder hands arguments on to later stages.
ARG PIP_INDEX_URL=""
ARG PIP_NO_INDEX=""
ARG PIP_FIND_LINKS=""
ENV PIP_INDEX_URL=$PIP_INDEX_URL PIP_NO_INDEX=$PIP_NO_INDEX PIP_FIND_LINKS=$PIP_FIND_LINKS
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/striate
ENV PIP_PYTHON=/opt/striate/bin/python PIP_NO_CACHE_DIR=1 \
    COMPILE="python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash"
COPY requirements-service.lock /
# Removed again is what is never used: OpenVINO reads SavedModels and computes on the CPU here. That is 83 of its
# 180 MB, and 0.15 s of 0.8 to load a model, as it opens every reader it finds. The tests of all packages are 10 MB.
RUN /opt/pip/bin/pip install --no-compile --require-hashes --requirement /requirements-service.lock \
    && cd /opt/striate/lib/python3*/site-packages \
    && find . -type d -name tests -prune -exec rm -r {} + \
    && cd openvino \
    && rm -rf tools torch include cmake frontend/jax frontend/onnx frontend/paddle frontend/pytorch \
    && cd libs \
    && rm -f cache.json libopenvino_intel_gpu_* libopenvino_intel_npu_* libopenvino_auto_* libopenvino_hetero_* \
        libopenvino_gguf_* libopenvino_jax_* libopenvino_onnx_* libopenvino_paddle_* libopenvino_pytorch_* \
        libopenvino_tensorflow_lite_* \
    && $COMPILE /opt/striate

# TensorFlow's 430 MB of C++ headers are for those who compile against it; Arrow's, S3 and Flight are 54 MB.

FROM packages-cpu AS packages-training
COPY requirements.lock /
RUN /opt/pip/bin/pip install --no-compile --require-hashes --requirement /requirements.lock \
    && cd /opt/striate/lib/python3*/site-packages \
    && rm -r tensorflow/include pyarrow/include pyarrow/*_s3* pyarrow/*flight* \
    && $COMPILE /opt/striate

FROM packages-cpu AS packages-gpu
COPY requirements-gpu.lock /
RUN /opt/pip/bin/pip install --no-compile --require-hashes --requirement /requirements-gpu.lock \
    && cd /opt/striate/lib/python3*/site-packages \
    && rm -r tensorflow/include pyarrow/include pyarrow/*_s3* pyarrow/*flight* \
    && $COMPILE /opt/striate

# Our own code, in /app.

FROM ${BASE} AS code
COPY models /app/models
COPY service /app/service
COPY striate /app/striate
COPY training /app/training
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /app \
    && mkdir /app/bin \
    && printf '#!/opt/striate/bin/python\nfrom striate.cli import main\n\nmain()\n' > /app/bin/striate \
    && chmod 755 /app/bin/striate

# The images.

FROM ${BASE} AS base
# Official images of Python bring no bytecode: without it a process of the service starts 0.4 s later.
RUN python3 -m compileall -q -x site-packages "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
ENV PATH=/app/bin:/opt/striate/bin:$PATH PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1

FROM base AS serving
ENV SERVICE_HOST=0.0.0.0 SERVICE_EXPORTS=/exports SERVICE_FEEDBACK=/feedback
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=10s --start-period=120s CMD ["/opt/striate/bin/python", "-m", "service.probe"]
ENTRYPOINT ["/opt/striate/bin/python", "-m", "striate"]
CMD ["serve"]
VOLUME /exports
USER 10001:10001

FROM serving AS service-cpu
COPY --from=packages-cpu /opt/striate /opt/striate
COPY --from=code /app/models /app/models
COPY --from=code /app/bin /app/bin
COPY --from=code /app/striate /app/striate
COPY --from=code /app/service /app/service

FROM base AS training
COPY --from=packages-training /opt/striate /opt/striate
COPY --from=code /app/models /app/models
COPY --from=code /app/bin /app/bin
COPY --from=code /app/striate /app/striate
COPY --from=code /app/training /app/training
# A retraining job asks champion and challenger in a real service.
COPY --from=code /app/service /app/service
# .cache, runs, exports and feedback are made here.
RUN install --directory --owner 10001 --group 10001 /data
WORKDIR /data
VOLUME /data
USER 10001:10001
ENTRYPOINT ["/opt/striate/bin/python", "-m", "striate"]
CMD ["--help"]

FROM serving AS service
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=packages-gpu /opt/striate /opt/striate
COPY --from=code /app/models /app/models
COPY --from=code /app/bin /app/bin
COPY --from=code /app/striate /app/striate
COPY --from=code /app/service /app/service
