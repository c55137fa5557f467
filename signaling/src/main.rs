//! The binary: `tianqiao serve` runs everything in one process, `signaling` and `sfu` are the parts of a fleet.

mod modes;
mod node_settings;

use anyhow::Context;
use clap::{Arg, ArgAction, ArgMatches, Command};
use modes::operator::Question;
use tianqiao::{Config, config, logging};

/// It gives memory back some seconds after a crowd or an attack; glibc's keeps what lies below a long-lived piece.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<()> {
    let matches = command().get_matches();
    let (mode, flags) = matches.subcommand().context("clap asks for a sub-command")?;
    let mut config = Config::load(flags, |name| std::env::var(name).ok())?;
    logging::init(&config)?;
    let mut sfu = node_settings::sfu_config(&config);
    node_settings::fit_to_files(&mut config, &mut sfu);
    let runtime = tokio::runtime::Runtime::new()?;
    match mode {
        "serve" => runtime.block_on(modes::serve::run(config, sfu)),
        "signaling" => runtime.block_on(modes::signaling::run(config)),
        "sfu" => runtime.block_on(modes::sfu::run(config, sfu)),
        question => {
            let question = self::question(question, flags);
            let as_json = flags.try_get_one::<bool>("json").ok().flatten();
            runtime.block_on(modes::operator::run(
                config,
                question,
                as_json.is_some_and(|json| *json),
            ))
        }
    }
}

fn question(name: &str, flags: &ArgMatches) -> Question {
    let node = || flags.get_one::<String>("NODE").cloned().unwrap_or_default();
    match name {
        "nodes" => Question::Nodes,
        "rooms" => Question::Rooms,
        other => Question::Drain {
            node: node(),
            draining: other == "drain",
        },
    }
}

fn command() -> Command {
    let mode = |name: &'static str, about: &'static str, more: &'static str| {
        Command::new(name)
            .about(about)
            .long_about(format!("{about}. {more}"))
            .args(config::args())
    };
    let json = || {
        Arg::new("json")
            .long("json")
            .action(ArgAction::SetTrue)
            .help("Print JSON instead of a table")
    };
    let node = || Arg::new("NODE").required(true).help("The media server's name");
    let lists = "Asks over the bus of the fleet.";
    Command::new("tianqiao")
        .about("Video meetings through a server of your own")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(mode(
            "serve",
            "Runs the web page, signaling and a media server in one process",
            "Prints `ready: URL` once meetings can be held, and `metrics: URL` on a second line; logs go to standard error. \
             Ends with SIGTERM, SIGINT or SIGHUP.",
        ))
        .subcommand(mode(
            "signaling",
            "Runs the web page and signaling of a fleet, one of any number of instances",
            "Prints `ready: URL` and `metrics: URL`. At SIGTERM other instances take its meetings over.",
        ))
        .subcommand(mode(
            "sfu",
            "Runs a media server of a fleet",
            "Prints `ready: node NAME` and `metrics: URL`. At SIGTERM it drains and ends when nobody is left, or when drain-grace \
             is over; at SIGINT, SIGHUP or a second SIGTERM it ends at once.",
        ))
        .subcommand(mode("nodes", "Lists the media servers of a fleet", lists).arg(json()))
        .subcommand(mode("rooms", "Lists the meetings of a fleet by media server", lists).arg(json()))
        .subcommand(mode("drain", "Tells a media server to give its sessions away and to take none", lists).arg(node()))
        .subcommand(mode("undrain", "Tells a media server to take sessions again", lists).arg(node()))
}
