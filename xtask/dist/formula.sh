#!/bin/sh
# Prints the Homebrew formula of a release: formula.sh URL VERSION FOLDER, where the folder holds its archives and their checksums.
set -eu

[ $# -eq 3 ] || {
    echo 'formula.sh: say URL, VERSION and the folder of the archives' >&2
    exit 1
}
url=$1 version=$2 folder=$3

# The lines of one archive.
of() {
    name=threefold-$version-$1.tar.gz
    sum=$(cut -d ' ' -f 1 "$folder/$name.sha256")
    printf '      url "%s/%s"\n      sha256 "%s"\n' "$url" "$name" "$sum"
}

cat <<END
class Threefold < Formula
  desc "Keeps every Claude Code conversation, searchable and restorable"
  homepage "${url%%/releases/*}"
  version "$version"
  license any_of: ["MIT", "Apache-2.0"]

  on_macos do
    on_arm do
$(of aarch64-apple-darwin)
    end
    on_intel do
$(of x86_64-apple-darwin)
    end
  end
  on_linux do
    on_arm do
$(of aarch64-unknown-linux-gnu)
    end
    on_intel do
$(of x86_64-unknown-linux-gnu)
    end
  end

  def install
    libexec.install Dir["*"]
    bin.install_symlink libexec/"bin/layer3-indexer" => "threefold"
    man1.install Dir[libexec/"man/*.1"]
  end

  def caveats
    "Run 'threefold setup' to install the hooks."
  end

  test do
    system bin/"threefold", "--version"
  end
end
END
