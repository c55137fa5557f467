//! The profiles that come with the crate; the files say where their figures are from.

macro_rules! shipped {
    ($($name:literal),+ $(,)?) => {
        /// Of all profiles that come with the crate.
        pub const NAMES: &[&str] = &[$($name),+];

        /// The file of one of [`NAMES`].
        pub fn text(name: &str) -> Option<&'static str> {
            match name {
                $($name => Some(include_str!(concat!("../../profiles/", $name, ".toml"))),)+
                _ => None,
            }
        }
    };
}

shipped!(
    "village-2g-edge",
    "village-bad",
    "village-3g",
    "lossy-2m",
    "drop-1m-300k",
    "lte-moving",
    "hotel-wifi",
    "satellite",
);
