//! The real binary where the machine has too little: files, disk, a place for its words; and what it never says.

#[path = "common/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "hardships/process.rs"]
mod process;

#[path = "hardships/disk.rs"]
mod disk;
#[path = "hardships/files.rs"]
mod files;
#[path = "hardships/secrets.rs"]
mod secrets;
