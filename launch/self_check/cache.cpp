#include "launch/self_check/cache.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/error.h"
#include "core/file/atomic_file.h"
#include "core/file/checksum.h"
#include "core/json.h"
#include "core/log.h"

namespace elastron::launch::self_check {

namespace {

namespace fs = std::filesystem;

// The folder of what can be made again, as the XDG base directory specification has it: a relative
// path is passed over.
std::string cache_folder() {
  const auto absolute = [](const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr && value[0] == '/' ? std::string(value) : std::string();
  };
  if (const std::string folder = absolute("XDG_CACHE_HOME"); !folder.empty()) {
    return folder + "/elastron";
  }
  const std::string home = absolute("HOME");
  return home.empty() ? "" : home + "/.cache/elastron";
}

// Unlike that of any other process that may write here at the same time.
std::string own_name(const std::string& path) {
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  return fmt::format("{}.{}.{}.tmp", path, host.data(), getpid());
}

std::string checksum_of(const nlohmann::json& object) { return checksum(object.dump()); }

}  // namespace

FindingsCache::FindingsCache(std::string identity) : identity_(std::move(identity)) {
  const std::string folder = cache_folder();
  if (!folder.empty())
    path_ = folder + "/self-check-" + checksum(identity_).substr(0, 16) + ".json";
}

Findings FindingsCache::read() const {
  std::ifstream file(path_, std::ios::binary);
  if (path_.empty() || !file) return {};
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  try {
    auto object = parse_json_strict(text, path_);
    const std::string sum = object.at("checksum");
    object.erase("checksum");
    if (sum != checksum_of(object) || object.at("identity") != identity_) return {};
    return findings_of(object.at("findings"));
  } catch (const std::exception&) {
    return {};
  }
}

void FindingsCache::add(const Findings& findings) const {
  if (path_.empty() || findings.empty()) return;
  Findings all = read();
  for (const Finding& f : findings) {
    const auto it = std::ranges::find(all, f.check, &Finding::check);
    if (it == all.end()) {
      all.push_back(f);
    } else {
      *it = f;
    }
  }
  nlohmann::json object = {{"identity", identity_}, {"findings", to_json(all)}};
  object["checksum"] = checksum_of(object);
  const std::string temporary = own_name(path_);
  try {
    make_folder(fs::path(path_).parent_path().string());
    const TemporaryFile remover(temporary);
    write_text_atomically(temporary, object.dump(1) + "\n");
    publish_file(temporary, path_);
  } catch (const Error& error) {
    log_warning("the self-check will be made again at the next start: {}", error.what());
  }
}

}  // namespace elastron::launch::self_check
