use std::process::ExitCode;

fn main() -> ExitCode {
    // Roles of their own process come first: they need it to have one thread.
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(role) if role == coracle::image::unpack::ROLE => coracle::image::unpack::main(arguments),
        Some(role) if role == coracle::remove_tree::ROLE => coracle::remove_tree::main(arguments),
        _ => ExitCode::FAILURE,
    }
}
