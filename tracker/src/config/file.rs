//! Reading a configuration file so that everything that is wrong with it is found.

use confique::Layer as _;
use serde::Deserialize as _;
use toml::de::{DeTable, DeValue, Deserializer, ValueDeserializer};
use toml::{Spanned, de::DeString};

use super::{ChannelConfig, ConfigError, Flags};

/// The key of the list whose entries are looked at one by one.
const CHANNEL: &str = "channel";

/// What can be understood of the text; what cannot is named in `errors`, key by key.
pub(super) fn parse(text: &str, origin: &str, errors: &mut Vec<ConfigError>) -> Flags {
    let mut refuse = |mut reason: toml::de::Error| {
        reason.set_input(Some(text));
        errors.push(ConfigError::Toml { origin: origin.to_owned(), reason: Box::new(reason) });
    };
    let table = match DeTable::parse(text) {
        Ok(table) => table.into_inner(),
        Err(reason) => {
            refuse(reason);
            return Flags::empty();
        }
    };
    let (mut said, mut channels) = (Flags::empty(), Vec::new());
    for (key, value) in table {
        let span = value.span();
        match value.into_inner() {
            DeValue::Array(list) if key.get_ref() == CHANNEL => {
                for entry in list {
                    match ChannelConfig::deserialize(ValueDeserializer::from(entry)) {
                        Ok(channel) => channels.push(channel),
                        Err(reason) => refuse(reason),
                    }
                }
            }
            value => match one(key, Spanned::new(span, value)) {
                Ok(layer) => said = said.with_fallback(layer),
                Err(reason) => refuse(reason),
            },
        }
    }
    if !channels.is_empty() {
        said.channel = Some(channels);
    }
    said
}

/// A file with this key alone.
fn one<'a>(key: Spanned<DeString<'a>>, value: Spanned<DeValue<'a>>) -> Result<Flags, toml::de::Error> {
    let span = key.span().start..value.span().end;
    let mut table = DeTable::new();
    table.insert(key, value);
    Flags::deserialize(Deserializer::from(Spanned::new(span, table)))
}
