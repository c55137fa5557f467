//! All settings. [`settings`] holds the list; from it come the flags, the environment variables,
//! the keys of the TOML file, `--help`, the sample file and the table of docs/configuration.md.

mod document;
mod settings;
mod value;

use std::collections::BTreeMap;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};
use thiserror::Error;
use tianqiao_protocol::media::CameraEncoding;

pub use document::{markdown_table, sample_file};
pub use settings::Config;
pub use value::{BitRate, ByteSize, CreateMeetings, LogFormat, ScalabilityMode};
use value::{Kind, Value};

#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("{path}: {reason}")]
    File { path: String, reason: String },
    #[error("{source_name}: {reason}")]
    Value { source_name: String, reason: String },
    #[error("{0}")]
    Conflict(&'static str),
}

/// One setting as people see it.
pub struct Setting {
    /// The key of the file; with dashes it is the flag.
    pub name: &'static str,
    pub help: &'static str,
    pub default: &'static str,
    /// The heading under which `--help` and the sample file list it.
    pub section: &'static str,
    kind: Kind,
}

impl Setting {
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    pub fn variable(&self) -> String {
        format!("TIANQIAO_{}", self.name.to_uppercase())
    }

    fn arg(&self) -> Arg {
        let default = if self.default.is_empty() { "none" } else { self.default };
        let arg = Arg::new(self.name)
            .long(&*self.flag().leak()) // clap wants names for good; there is one command per process
            .help(format!("{} [default: {default}] [env: {}]", self.help, self.variable()))
            .help_heading(self.section)
            .value_name(self.kind.value_name());
        match self.kind {
            Kind::List(_) => arg.action(ArgAction::Append),
            Kind::Flag => arg.num_args(0..=1).default_missing_value("true"),
            _ => arg,
        }
    }
}

/// A setting's text and where it was found.
struct Found {
    text: String,
    source: String,
}

type Layer = BTreeMap<&'static str, Found>;

/// The flags of `tianqiao serve`.
pub fn args() -> Vec<Arg> {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .help("A TOML file with any of the settings below [env: TIANQIAO_CONFIG]");
    std::iter::once(file)
        .chain(settings::SETTINGS.iter().map(Setting::arg))
        .collect()
}

impl Config {
    /// Flags over environment over the file that either of them names over defaults.
    pub fn load(matches: &ArgMatches, env: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let file = matches
            .get_one::<String>("config")
            .cloned()
            .or_else(|| env("TIANQIAO_CONFIG"));
        let mut layer = match file {
            Some(path) => file_layer(Path::new(&path))?,
            None => Layer::new(),
        };
        for setting in settings::SETTINGS {
            if let Some(found) = flag(setting, matches).or_else(|| variable(setting, &env)) {
                layer.insert(setting.name, found);
            }
        }
        let config = Self::from_layer(&layer)?;
        config.check()?;
        Ok(config)
    }

    /// What pages are asked to send of their cameras.
    pub fn camera_encoding(&self) -> CameraEncoding {
        let codec = self.camera_codec;
        CameraEncoding {
            codec,
            scalability_mode: codec.is_scalable().then(|| self.camera_scalability.0.clone()),
        }
    }

    /// Rules that hold between settings.
    fn check(&self) -> Result<(), ConfigError> {
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err(ConfigError::Conflict("tls-cert and tls-key go together"));
        }
        if self.plain_http && self.tls_cert.is_some() {
            return Err(ConfigError::Conflict("plain-http and tls-cert exclude each other"));
        }
        if self.dead_after <= self.ping_interval {
            return Err(ConfigError::Conflict("dead-after must be longer than ping-interval"));
        }
        if self.max_message_size.0 < self.max_sdp_size.0 {
            return Err(ConfigError::Conflict("max-message-size must be at least max-sdp-size"));
        }
        if self.max_proof_bits > MAX_PROOF_BITS || self.proof_bits > self.max_proof_bits {
            return Err(ConfigError::Conflict(
                "proof-bits is at most max-proof-bits, and that at most 28",
            ));
        }
        if self.voice_redundancy > 3 {
            return Err(ConfigError::Conflict("voice-redundancy is at most 3"));
        }
        if self.reserve_percent > 50 {
            return Err(ConfigError::Conflict("reserve-percent is at most 50"));
        }
        if self.node_soft_load == 0 || self.node_soft_load > self.node_hard_load || self.node_hard_load > 100 {
            return Err(ConfigError::Conflict(
                "node-soft-load is at most node-hard-load, and that at most 100",
            ));
        }
        if self.relay_fan_out < 2 {
            return Err(ConfigError::Conflict("relay-fan-out is at least 2"));
        }
        if self.create_meetings == CreateMeetings::Token && self.api_keys_file.is_none() {
            return Err(ConfigError::Conflict("create-meetings token needs api-keys-file"));
        }
        if [
            self.max_connections,
            self.max_connections_per_address,
            self.max_waiting_websockets_per_address,
        ]
        .contains(&0)
        {
            return Err(ConfigError::Conflict("a limit of connections must be at least 1"));
        }
        Ok(())
    }
}

/// A phone would take minutes for more.
const MAX_PROOF_BITS: u32 = 28;

fn flag(setting: &Setting, matches: &ArgMatches) -> Option<Found> {
    if matches.value_source(setting.name) != Some(ValueSource::CommandLine) {
        return None;
    }
    let values: Vec<&str> = matches.get_many::<String>(setting.name)?.map(String::as_str).collect();
    Some(Found {
        text: values.join(","),
        source: format!("--{}", setting.flag()),
    })
}

fn variable(setting: &Setting, env: impl Fn(&str) -> Option<String>) -> Option<Found> {
    let source = setting.variable();
    Some(Found {
        text: env(&source)?,
        source,
    })
}

fn file_layer(path: &Path) -> Result<Layer, ConfigError> {
    let error = |reason: String| ConfigError::File {
        path: path.display().to_string(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|reason| error(reason.to_string()))?;
    let table: toml::Table = text
        .parse()
        .map_err(|reason: toml::de::Error| error(reason.to_string()))?;
    let mut layer = Layer::new();
    for (key, value) in table {
        let setting = settings::SETTINGS.iter().find(|setting| setting.name == key);
        let setting = setting.ok_or_else(|| error(format!("no such setting: {key}")))?;
        let text = plain(&value).ok_or_else(|| error(format!("{key}: expected {}", setting.kind.value_name())))?;
        let source = format!("{}: {key}", path.display());
        layer.insert(setting.name, Found { text, source });
    }
    Ok(layer)
}

/// The text of a TOML value, lists joined by commas as in an environment variable.
fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(values) => {
            let texts: Option<Vec<String>> = values.iter().map(plain).collect();
            Some(texts?.join(","))
        }
        _ => None,
    }
}

fn parse<T: Value>(layer: &Layer, setting: &Setting) -> Result<T, ConfigError> {
    let (text, source) = match layer.get(setting.name) {
        Some(found) => (found.text.as_str(), found.source.as_str()),
        None => (setting.default, setting.name),
    };
    T::parse(text.trim()).map_err(|reason| ConfigError::Value {
        source_name: source.to_owned(),
        reason,
    })
}

#[cfg(test)]
mod tests;
