#include "train/metrics/event_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>
#include <filesystem>

#include "core/file/atomic_file.h"
#include "train/metrics/event.pb.h"

namespace elastron::train {

namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::array<uint32_t, 256> crc_table() {
  constexpr uint32_t kReversedPolynomial = 0x82F63B78;
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ (c & 1 ? kReversedPolynomial : 0);
    table[i] = c;
  }
  return table;
}

// TFRecord's guard against checksums of data that hold checksums.
uint32_t masked_crc(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xA282EAD8u; }

template <class T>
std::string_view bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string new_path(const std::string& folder) {
  make_folder(folder);
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host = {"localhost"};
  // Viewers read a folder's files in the order of their names; two in one second are numbered.
  std::string path;
  int number = 0;
  std::error_code error;
  do {
    path = fmt::format("{}/events.out.tfevents.{:010d}.{}.{}.{}", folder, int64_t(now()),
                       host.data(), getpid(), number++);
  } while (std::filesystem::exists(path, error));
  return path;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static constexpr auto kTable = crc_table();
  uint32_t c = ~0u;
  for (const char byte : bytes) c = kTable[(c ^ uint8_t(byte)) & 0xFF] ^ (c >> 8);
  return ~c;
}

std::string framed(std::string_view payload) {
  const uint64_t length = payload.size();
  std::string record(bytes_of(length));
  record += bytes_of(masked_crc(bytes_of(length)));
  record += payload;
  record += bytes_of(masked_crc(payload));
  return record;
}

EventFile::EventFile(const std::string& folder, int64_t first_step) : file_(new_path(folder)) {
  event::Event version;
  version.set_wall_time(now());
  version.set_file_version("brain.Event:2");
  file_.append(framed(version.SerializeAsString()));
  // "A run starts again at this step": points from it on, in earlier files, are void.
  event::Event start;
  start.set_wall_time(now());
  start.set_step(first_step + 1);
  start.mutable_session_log()->set_status(event::SessionLog::START);
  file_.append(framed(start.SerializeAsString()));
}

void EventFile::scalars(int64_t step, const std::map<std::string, double>& values) {
  event::Event event;
  event.set_wall_time(now());
  event.set_step(step);
  for (const auto& [tag, value] : values) {
    auto* point = event.mutable_summary()->add_value();
    point->set_tag(tag);
    point->set_simple_value(float(value));
  }
  file_.append(framed(event.SerializeAsString()));
}

}  // namespace elastron::train
