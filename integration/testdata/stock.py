"""What the tests ask of the Deadline tools of Python (package "deadline").

Each command prints its answer to stdout. The caches are those in the home directory,
as for any user of the tools; the S3 server is the one of the AWS_* variables.

    stock.py version
    stock.py recode                     manifest on stdin, decoded and encoded
    stock.py make                       JSON lines of [path, hash, size, mtime], encoded
    stock.py hash ROOT                  tree, hashed with the hash cache, as a manifest
    stock.py hashes PATH...             JSON of the rows of the hash cache
    stock.py seen KEY...                JSON of the keys that the check cache holds
    stock.py upload ROOT BUCKET PREFIX  manifest on stdin, contents to S3
    stock.py download DIR BUCKET PREFIX manifest on stdin, contents from S3
"""

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

from deadline.job_attachments.asset_manifests.decode import decode_manifest
from deadline.job_attachments.asset_manifests.hash_algorithms import HashAlgorithm
from deadline.job_attachments.asset_manifests.v2023_03_03 import AssetManifest, ManifestPath
from deadline.job_attachments.caches import HashCache, S3CheckCache
from deadline.job_attachments.download import download_files_from_manifests
from deadline.job_attachments.upload import S3AssetManager, S3AssetUploader


def read_manifest():
    return decode_manifest(sys.stdin.read())


def make():
    paths = []
    for line in sys.stdin:
        path, file_hash, size, mtime = json.loads(line)
        paths.append(ManifestPath(path=path, hash=file_hash, size=size, mtime=mtime))
    return AssetManifest(
        hash_alg=HashAlgorithm.XXH128, paths=paths, total_size=sum(p.size for p in paths)
    ).encode()


def hash_tree(root):
    manager = S3AssetManager()
    files = [os.path.join(d, name) for d, _, names in os.walk(root) for name in names]
    group = manager.prepare_paths_for_upload(
        input_paths=files, output_paths=[root], referenced_paths=[]
    )
    _, manifests = manager.hash_assets_and_create_manifest(
        asset_groups=group.asset_groups,
        total_input_files=group.total_input_files,
        total_input_bytes=group.total_input_bytes,
    )
    return manifests[0].asset_manifest.encode()


def hashes(paths):
    with HashCache() as cache:
        rows = {p: cache.get_entry(p, HashAlgorithm.XXH128) for p in paths}
    return json.dumps({p: row.file_hash if row else "" for p, row in rows.items()})


def seen(keys):
    with S3CheckCache() as cache:
        return json.dumps({k: cache.get_entry(k) is not None for k in keys})


def upload(root, bucket, prefix):
    uploader = S3AssetUploader(s3_max_pool_connections=10, small_file_threshold_multiplier=20)
    uploader.upload_input_files(
        manifest=read_manifest(), s3_bucket=bucket, source_root=Path(root), s3_cas_prefix=prefix
    )
    return ""


def download(root, bucket, prefix):
    stats = download_files_from_manifests(
        s3_bucket=bucket, manifests_by_root={root: read_manifest()}, cas_prefix=prefix
    )
    return str(stats.processed_files)


def main(command, *args):
    if command == "version":
        return version("deadline")
    if command == "recode":
        return read_manifest().encode()
    if command == "make":
        return make()
    if command == "hash":
        return hash_tree(*args)
    if command == "hashes":
        return hashes(args)
    if command == "seen":
        return seen(args)
    if command == "upload":
        return upload(*args)
    if command == "download":
        return download(*args)
    raise SystemExit(f"unknown command {command}")


if __name__ == "__main__":
    sys.stdout.write(main(*sys.argv[1:]))
