//! The environment of a container's program: where each variable comes from, and which of two is heard.

use oci_spec::image::Config as ImageConfig;

use super::request::ContainerRequest;

/// Where a program is looked for when the image does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Our own variables, then the image's, then those that were merged with them, then those that were said outright.
pub fn environment(request: &ContainerRequest, image: &ImageConfig) -> Vec<String> {
    let mut all: Vec<(String, String)> = vec![("PATH".into(), PATH.into()), ("container".into(), "podling".into())];
    if request.terminal {
        all.push(("TERM".into(), "xterm".into()));
    }
    let mut said: Vec<_> = image.env().iter().flatten().filter_map(|pair| pair.split_once('=')).collect();
    if request.unset_all_env {
        (all, said) = (Vec::new(), Vec::new());
    }
    for (name, value) in said {
        set(&mut all, name, value.into());
    }
    for (name, value) in &request.merged_env {
        let value = expand(value, |name| all.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone()));
        set(&mut all, name, value);
    }
    for (name, value) in &request.env {
        set(&mut all, name, value.clone());
    }
    all.retain(|(name, _)| !request.unset_env.contains(name));
    all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn set(all: &mut Vec<(String, String)>, name: &str, value: String) {
    match all.iter_mut().find(|(other, _)| other == name) {
        Some((_, old)) => *old = value,
        None => all.push((name.into(), value)),
    }
}

/// `$NAME` and `${NAME}` become what `meant` says of them; nothing if it knows no such name.
pub fn expand(text: &str, meant: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let braced = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        let (name, left) =
            braced.unwrap_or_else(|| after.split_at(after.find(|it| !is_part(it)).unwrap_or(after.len())));
        match name {
            "" => expanded.push('$'),
            name => expanded.push_str(&meant(name).unwrap_or_default()),
        }
        rest = left;
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_in_a_value_are_expanded() {
        let meant = |name: &str| (name == "PATH").then(|| "/bin".to_owned());
        for (text, expected) in [
            ("${PATH}:/opt", "/bin:/opt"),
            ("$PATH:/opt", "/bin:/opt"),
            ("a$NONE.b", "a.b"),
            ("5$ and ${PATH", "5$ and ${PATH"),
        ] {
            assert_eq!(expand(text, meant), expected, "{text}");
        }
    }
}
