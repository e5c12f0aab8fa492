//! The container's program: what runs, as whom, where, with which environment.

use std::path::PathBuf;

use clap::Args;

use crate::engine::request::ContainerRequest;
use crate::engine::settings::Passwd;

#[derive(Debug, Args)]
#[command(next_help_heading = "Program")]
pub struct Program {
    /// Keep standard input open
    #[arg(long, short)]
    interactive: bool,
    /// Give it a terminal
    #[arg(long, short)]
    tty: bool,
    /// Program instead of the image's entrypoint: a word, or a JSON array of words; empty: none
    #[arg(long, value_name = "COMMAND", value_parser = entrypoint)]
    entrypoint: Option<Words>,
    /// Set a variable; without a value, the one it has here; with *, all that begin so (repeatable)
    #[arg(long, short, value_name = "NAME[=VALUE]", value_parser = env)]
    env: Vec<Env>,
    /// Read variables from a file, one a line
    #[arg(long, value_name = "FILE", value_delimiter = ',', value_parser = env_file)]
    env_file: Vec<Env>,
    /// Pass all variables of this shell
    #[arg(long)]
    env_host: bool,
    /// Change a variable: in VALUE, ${NAME} is what it would be (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = super::pair)]
    env_merge: Vec<(String, String)>,
    /// Leave out a variable that the image sets (repeatable)
    #[arg(long, value_name = "NAME")]
    unsetenv: Vec<String>,
    /// Leave out all variables that nobody asked for here
    #[arg(long)]
    unsetenv_all: bool,
    /// Pass http_proxy and its kin
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    http_proxy: bool,
    /// User, and group: names or numbers
    #[arg(long, short, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Add a group: name, number, or keep-groups
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    group_add: Vec<String>,
    /// Give its user a line in /etc/passwd, where it has none
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    passwd: bool,
    /// That line; $USERNAME, $UID, $GID, $NAME and $HOME are the user's
    #[arg(long, value_name = "LINE")]
    passwd_entry: Option<String>,
    /// The line in /etc/group, where its group has none; $GROUPNAME and $GID are the group's
    #[arg(long, value_name = "LINE")]
    group_entry: Option<String>,
    /// Working directory
    #[arg(long, short, value_name = "DIR", value_parser = absolute)]
    workdir: Option<String>,
    /// umask, octal (0022)
    #[arg(long, value_name = "MASK", value_parser = umask)]
    umask: Option<u32>,
    /// Time zone: a name such as Europe/Berlin, or local
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// Run a small init as pid 1, which reaps and passes signals on
    #[arg(long)]
    init: bool,
    /// The program of --init
    #[arg(long, value_name = "PATH")]
    init_path: Option<PathBuf>,
    /// Prepare for systemd as pid 1: true, false, always
    #[arg(long, value_name = "WHEN", value_parser = ["true", "false", "always"], hide_possible_values = true)]
    systemd: Option<String>,
    /// Pass so many descriptors after standard error
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    preserve_fds: u32,
    /// IMAGE is a directory, used as the root file system as it is
    #[arg(long)]
    pub rootfs: bool,
}

/// Words of a command.
type Words = Vec<String>;
/// Variables; one flag may mean several.
pub type Env = Vec<(String, String)>;

impl Program {
    pub fn ask(self, request: &mut ContainerRequest) {
        request.interactive = self.interactive;
        request.terminal = self.tty;
        request.entrypoint = self.entrypoint;
        // Later wins: what was said most explicitly comes last.
        if self.http_proxy {
            request.env.extend(std::env::vars().filter(|(name, _)| is_proxy(name)));
        }
        if self.env_host {
            request.env.extend(std::env::vars());
        }
        request.env.extend(self.env_file.into_iter().flatten().chain(self.env.into_iter().flatten()));
        request.merged_env = self.env_merge;
        request.unset_env = self.unsetenv;
        request.unset_all_env = self.unsetenv_all;
        request.user = self.user;
        request.groups = self.group_add;
        request.passwd = Passwd { leave: !self.passwd, entry: self.passwd_entry, group_entry: self.group_entry };
        request.working_dir = self.workdir.filter(|directory| !directory.is_empty());
        request.umask = self.umask;
        request.timezone = self.tz;
        request.init = self.init;
        request.init_path = self.init_path;
        request.systemd = self.systemd;
        request.preserve_fds = self.preserve_fds;
    }
}

fn is_proxy(name: &str) -> bool {
    matches!(name.to_ascii_lowercase().as_str(), "http_proxy" | "https_proxy" | "ftp_proxy" | "no_proxy")
}

fn entrypoint(text: &str) -> Result<Words, String> {
    match text.trim() {
        "" => Ok(Vec::new()),
        json if json.starts_with('[') => serde_json::from_str(json).map_err(|_| "not a JSON array of words".to_owned()),
        word => Ok(vec![word.to_owned()]),
    }
}

/// `NAME=VALUE`; `NAME`, which is left out if it is not set here; `NAME*`.
pub fn env(text: &str) -> Result<Env, String> {
    match text.split_once('=') {
        Some(("", _)) => Err("a variable needs a name".into()),
        Some((name, value)) => Ok(vec![(name.to_owned(), value.to_owned())]),
        None => match text.strip_suffix('*') {
            Some(prefix) => Ok(std::env::vars().filter(|(name, _)| name.starts_with(prefix)).collect()),
            None => Ok(std::env::var(text).map(|value| (text.to_owned(), value)).into_iter().collect()),
        },
    }
}

/// A file of variables: a line each, as for `--env`; empty lines and those that begin with `#` mean nothing. Values are
/// taken as they are, quotes too.
pub fn env_file(path: &str) -> Result<Env, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let mut variables = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if !line.is_empty() && !line.starts_with('#') {
            variables.extend(env(line).map_err(|why| format!("line {}: {why}", number + 1))?);
        }
    }
    Ok(variables)
}

/// A directory inside the container; an empty word is none, as in scripts whose variable is not set.
pub fn absolute(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('/') { Ok(text.to_owned()) } else { Err("expected an absolute path".into()) }
}

fn umask(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mask) if mask <= 0o777 => Ok(mask),
        _ => Err("expected an octal number up to 0777".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_come_from_flags_files_and_here() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), "# comment\n\nA=1\n  B=two words\nC=\"quoted\"\nPATH\nNOT_SET_ANYWHERE\n")
            .expect("write");
        let read = env_file(&file.path().to_string_lossy()).expect("a sound file");
        let path = std::env::var("PATH").expect("a path");
        let expected = [("A", "1"), ("B", "two words"), ("C", "\"quoted\""), ("PATH", path.as_str())];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(env("PAT*").map(|found| found.iter().any(|(name, _)| name == "PATH")), Ok(true));
        assert_eq!(env("A=b=c"), Ok(vec![("A".into(), "b=c".into())]));
    }

    #[test]
    fn an_entrypoint_is_a_word_or_an_array() {
        assert_eq!(entrypoint("sh -c"), Ok(vec!["sh -c".into()]));
        assert_eq!(entrypoint(r#"["sh", "-c"]"#), Ok(vec!["sh".into(), "-c".into()]));
        assert_eq!(entrypoint(""), Ok(vec![]));
    }
}
