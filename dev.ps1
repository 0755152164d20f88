# The Windows twin of ./dev: installs what is missing, then runs, tests, lints or measures DPOP Studio.
# Everything it does is announced with a line that starts with "dev:"; a second call finds nothing to do.
#   .\dev.ps1 run [ARGS]      build and open the window
#   .\dev.ps1 test [ARGS]     build and run every test
#   .\dev.ps1 lint            formatting and clippy
#   .\dev.ps1 bench [ARGS]    time a training step, beside torch's loop where torch is installed
#   .\dev.ps1 setup           only install what is missing
# If scripts are not allowed: powershell -ExecutionPolicy Bypass -File dev.ps1 run

$ErrorActionPreference = 'Stop'
Set-Location -LiteralPath $PSScriptRoot

function Say([string] $Text) { Write-Host "dev: $Text" }

function Fail([string] $Text) {
    Write-Host "dev: error: $Text" -ForegroundColor Red
    exit 1
}

function Test-Program([string] $Name) { $null -ne (Get-Command $Name -ErrorAction SilentlyContinue) }

# The MSVC linker and the Windows SDK, as vswhere finds them.
function Test-BuildTools {
    $vswhere = Join-Path ${env:ProgramFiles(x86)} 'Microsoft Visual Studio\Installer\vswhere.exe'
    if (-not (Test-Path -LiteralPath $vswhere)) { return $false }
    $component = 'Microsoft.VisualStudio.Component.VC.Tools.x86.x64'
    $found = & $vswhere -latest -products '*' -requires $component -property installationPath
    return -not [string]::IsNullOrWhiteSpace($found)
}

function Install-BuildTools {
    $override = '--wait --passive --add Microsoft.VisualStudio.Workload.VCTools --includeRecommended'
    $line = "winget install --id Microsoft.VisualStudio.2022.BuildTools --override `"$override`""
    if ($env:DEV_NO_INSTALL -or -not (Test-Program 'winget')) {
        Fail "the Visual Studio C++ Build Tools are missing; install them, then call .\dev.ps1 again:`n    $line"
    }
    Say 'installing the Visual Studio C++ Build Tools (several GB; Windows asks for permission)'
    winget install --id Microsoft.VisualStudio.2022.BuildTools --accept-package-agreements --accept-source-agreements --override $override
    if (-not (Test-BuildTools)) { Fail "the Build Tools did not install; by hand:`n    $line" }
}

function Get-PinnedVersion {
    $match = Select-String -Path 'rust-toolchain.toml' -Pattern '^channel\s*=\s*"(.+)"' | Select-Object -First 1
    return $match.Matches[0].Groups[1].Value
}

function Install-Rust {
    $version = Get-PinnedVersion
    $cargoHome = if ($env:CARGO_HOME) { $env:CARGO_HOME } else { Join-Path $env:USERPROFILE '.cargo' }
    $env:PATH = "$(Join-Path $cargoHome 'bin');$env:PATH"
    if (-not (Test-Program 'rustup')) {
        if ($env:DEV_NO_INSTALL) { Fail "missing: rustup and Rust $version (https://rustup.rs)" }
        Say 'installing rustup'
        if (Test-Program 'winget') {
            winget install --id Rustlang.Rustup --accept-package-agreements --accept-source-agreements
        } else {
            $installer = Join-Path $env:TEMP 'rustup-init.exe'
            Invoke-WebRequest -UseBasicParsing -Uri 'https://win.rustup.rs/x86_64' -OutFile $installer
            & $installer -y --no-modify-path --profile minimal --default-toolchain none
        }
        if (-not (Test-Program 'rustup')) { Fail 'rustup did not install; see https://rustup.rs' }
    }
    if (-not ((rustup toolchain list) -match "^$([regex]::Escape($version))")) {
        if ($env:DEV_NO_INSTALL) { Fail "missing: rustup toolchain install $version" }
        Say "installing Rust $version with rustup"
        rustup toolchain install $version --profile minimal --component rustfmt --component clippy
        if ($LASTEXITCODE -ne 0) { Fail "Rust $version did not install" }
    }
}

function Install-All {
    if (-not (Test-BuildTools)) { Install-BuildTools }
    Install-Rust
}

$command = if ($args.Count -gt 0) { $args[0] } else { 'help' }
$rest = @($args | Select-Object -Skip 1)

switch ($command) {
    'run' {
        Install-All
        Say 'building (the first time takes several minutes) and starting'
        cargo run --quiet -- @rest
    }
    'test' {
        Install-All
        Say "cargo test --no-fail-fast $rest"
        cargo test --no-fail-fast @rest
    }
    'lint' {
        Install-All
        cargo fmt --all -- --check
        if ($LASTEXITCODE -eq 0) { cargo clippy --quiet --all-targets -- -D warnings }
    }
    'bench' {
        Install-All
        python benches/compare.py @rest
    }
    'setup' {
        Install-All
        Say 'everything is here'
    }
    default {
        Get-Content -LiteralPath $PSCommandPath -TotalCount 9 | ForEach-Object { $_ -replace '^# ?', '' }
        if ($command -notin 'help', '-h', '--help') { exit 2 }
        exit 0
    }
}
exit $LASTEXITCODE
