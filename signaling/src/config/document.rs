//! The settings as a sample file and as a table of the documentation.

use super::settings::SETTINGS;
use super::{Kind, Setting};

/// A TOML file in which every setting has its default.
pub fn sample_file() -> String {
    let mut text = String::from(
        "# All settings of Tianqiao with their defaults. A flag wins over an environment variable,\n\
         # an environment variable over this file. Generated; see docs/configuration.md.\n",
    );
    let mut section = "";
    for setting in SETTINGS {
        if setting.section != section {
            section = setting.section;
            text += &format!("\n# ---- {section} ----\n");
        }
        text += &format!("\n{}{} = {}\n", comment(setting.help), setting.name, literal(setting));
    }
    text
}

/// Rows of Markdown: key, default, meaning.
pub fn markdown_table() -> String {
    let mut text = String::new();
    let mut section = "";
    for setting in SETTINGS {
        if setting.section != section {
            section = setting.section;
            text += &format!("\n### {section}\n\n| Setting | Default | Meaning |\n|---|---|---|\n");
        }
        let default = match setting.default {
            "" => "none".to_owned(),
            default => format!("`{default}`"),
        };
        text += &format!(
            "| `{}` | {default} | {} |\n",
            setting.flag(),
            setting.help.replace('|', "\\|")
        );
    }
    text
}

fn literal(setting: &Setting) -> String {
    match setting.kind {
        Kind::Number | Kind::Flag => setting.default.to_owned(),
        Kind::List(_) => "[]".to_owned(),
        _ => format!("{:?}", setting.default),
    }
}

/// `help` as comment lines of at most 100 characters.
fn comment(help: &str) -> String {
    let mut lines = vec!["#".to_owned()];
    for word in help.split(' ') {
        let line = lines.last_mut().expect("never empty");
        if line.len() + 1 + word.len() > 100 {
            lines.push(format!("# {word}"));
        } else {
            *line += &format!(" {word}");
        }
    }
    lines.join("\n") + "\n"
}
