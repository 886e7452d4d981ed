"""Where everything is kept: folders, databases, lake and registry."""

from pathlib import Path

from pydantic import Field, SecretStr

from anomaly_platform.settings.home import found_home
from anomaly_platform.settings.types import (
    DatabaseName,
    Folder,
    Location,
    Port,
    PostgresUrl,
    SettingsPart,
)


class StorageSettings(SettingsPart):
    """Folders, databases, the lake and MLflow."""

    home: Folder = Field(default_factory=found_home)
    """Folder for everything that the platform keeps on this machine. Unset: .anomaly here or in the
    nearest folder above that has one."""
    database_url: PostgresUrl | None = Field(
        default=None,
        description="postgresql://user:password@host:5432/database of your own server. "
        "Unset: an embedded PostgreSQL under ANOMALY_HOME that starts by itself.",
    )
    reader_password: SecretStr | None = Field(
        default=None,
        description="Password of the role anomaly_reader, which only reads, on a server of your "
        "own: anomaly db upgrade gives it to the role, anomaly sql logs in with it. Unset: the "
        "server asks the role for none, or ~/.pgpass has it.",
    )
    dagster_database: DatabaseName = "dagster"
    """Name of Dagster's own database on the same server."""
    mlflow_database: DatabaseName = "mlflow"
    """Name of MLflow's own database on the same server."""
    mlflow_url: SecretStr | None = Field(
        default=None,
        description="http://host:5000 of an MLflow server of your own that the registry is "
        "mirrored to. Unset: ANOMALY_MLFLOW_DATABASE.",
    )
    mlflow_artifacts: Folder = Field(
        default_factory=lambda data: data["home"] / "mlflow" if "home" in data else Path(),
        description="Folder with the files of MLflow's runs. Unset: ANOMALY_HOME/mlflow.",
    )
    mlflow_port: Port = 5000
    """Port of MLflow's pages on 127.0.0.1 while `anomaly up` runs."""
    mlflow_pages: bool = Field(
        default=True,
        description="Whether `anomaly up` serves MLflow's pages and the console links to them. The "
        "console of an `anomaly api` of its own links to them only where this is set.",
    )
    lake_url: Location = Field(
        default_factory=lambda data: str(data["home"] / "lake") if "home" in data else ""
    )
    """Folder or fsspec URL (s3://bucket/prefix) of the lake. Unset: ANOMALY_HOME/lake."""
    landing_url: Location = Field(
        default_factory=lambda data: str(data["home"] / "landing") if "home" in data else "",
        description="Folder or fsspec URL into which files are dropped, one folder per stream. "
        "Unset: ANOMALY_HOME/landing.",
    )
    reference_path: Folder = Field(
        default_factory=lambda data: data["home"] / "reference" if "home" in data else Path(),
        description="Folder with what is known beforehand (places, companies, tiers), "
        "one folder per stream. Unset: ANOMALY_HOME/reference.",
    )
    streams_dir: Folder = Field(
        default_factory=lambda data: data["home"] / "streams" if "home" in data else Path(),
        description="Folder with the YAML files of streams of your own, one stream a file. "
        "Unset: ANOMALY_HOME/streams.",
    )

    file_max_bytes: int = Field(default=4 << 30, ge=1 << 20)
    """Largest file, unpacked and decoded, in bytes; a larger one is rejected."""
    file_max_rows: int = Field(default=50_000_000, ge=1_000)
    """Most rows of a file."""
    file_max_columns: int = Field(default=2_000, ge=2, le=100_000)
    """Most columns of a file; keys, for JSON."""
    file_max_cell_bytes: int = Field(default=1 << 20, ge=1_000, le=64 << 20)
    """Longest cell of a file, in bytes of UTF-8."""

    @property
    def is_embedded(self) -> bool:
        """Whether the platform runs a PostgreSQL of its own."""
        return self.database_url is None
