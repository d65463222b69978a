#include "core/file/dataset_parts.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

namespace elastron {

static_assert(std::endian::native == std::endian::little, "files are little-endian");

DatasetParts::DatasetParts(std::string path) : path_(std::move(path)) {
  const Hdf5File file = Hdf5File::open(path_, false);
  for (const std::string& name : file.list("/")) {
    places_[name] = {file.describe(name), file.place(name)};
  }
  descriptor_ = open(path_.c_str(), O_WRONLY | O_CLOEXEC);
  if (descriptor_ < 0) fail("cannot open the file", "");
}

DatasetParts::DatasetParts(DatasetParts&& other) noexcept
    : path_(std::move(other.path_)),
      places_(std::move(other.places_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      slice_(other.slice_),
      before_(other.before_),
      slice_bytes_(other.slice_bytes_) {}

DatasetParts::~DatasetParts() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void DatasetParts::fail(const char* what, const std::string& dataset) const {
  throw CheckpointError(std::string(what) + ": " + std::strerror(errno), path_ + dataset,
                        "free space or check the folder and its permissions");
}

void DatasetParts::write(const std::string& dataset, const Tensor& values,
                         const std::vector<int64_t>& offset, const OnSlice& on_slice) {
  const auto it = places_.find(dataset);
  ELASTRON_CHECK(it != places_.end(), "no dataset " + dataset);
  const Place& place = it->second;
  const Shape& whole = place.dataset.shape;
  ELASTRON_CHECK(values.contiguous() && values.device().kind() == DeviceKind::cpu &&
                     values.dtype() == place.dataset.dtype && values.rank() == whole.rank() &&
                     int(offset.size()) == whole.rank(),
                 "a part of another kind than its dataset " + dataset);
  for (int d = 0; d < whole.rank(); ++d) {
    ELASTRON_CHECK(offset[size_t(d)] >= 0 && offset[size_t(d)] + values.size(d) <= whole[d],
                   "a part beyond its dataset " + dataset);
  }
  if (values.numel() == 0) return;
  write_at(place, static_cast<const std::byte*>(values.raw()), values, offset, on_slice, 0, 0);
  if (on_slice) on_slice();
}

// `element`: of the dataset, where dims before `dim` have led.
void DatasetParts::write_at(const Place& place, const std::byte* from, const Tensor& values,
                            const std::vector<int64_t>& offset, const OnSlice& on_slice, int dim,
                            uint64_t element) {
  const Shape& whole = place.dataset.shape;
  // Dims after `dim` that the part has all of make one run.
  bool run = true;
  uint64_t inner = 1;
  size_t part = dtype_size(values.dtype());
  for (int d = dim + 1; d < whole.rank(); ++d) {
    run = run && values.size(d) == whole[d];
    inner *= uint64_t(whole[d]);
    part *= size_t(values.size(d));
  }
  if (dim < whole.rank()) element += uint64_t(offset[size_t(dim)]) * inner;
  if (!run) {
    for (int64_t i = 0; i < values.size(dim); ++i) {
      write_at(place, from + size_t(i) * part, values, offset, on_slice, dim + 1,
               element + uint64_t(i) * inner);
    }
    return;
  }
  size_t left = dim < whole.rank() ? part * size_t(values.size(dim)) : part;
  uint64_t at = place.begin + element * dtype_size(values.dtype());
  while (left > 0) {
    const ssize_t n =
        pwrite(descriptor_, from, std::min<size_t>(left, kSlice - slice_bytes_), off_t(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("cannot write the dataset", place.dataset.path);
    note_written({at, at + uint64_t(n)}, on_slice);
    from += n;
    at += uint64_t(n);
    left -= size_t(n);
  }
}

// A slice is over when it has all its bytes: it is begun to be sent to the disk, and the one before
// must be there.
void DatasetParts::note_written(Range range, const OnSlice& on_slice) {
  slice_ = slice_.empty()
               ? range
               : Range{std::min(slice_.begin, range.begin), std::max(slice_.end, range.end)};
  slice_bytes_ += range.end - range.begin;
  if (slice_bytes_ < kSlice) return;
  send_to_disk(slice_, SYNC_FILE_RANGE_WRITE);
  send_to_disk(before_,
               SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
  before_ = std::exchange(slice_, {});
  slice_bytes_ = 0;
  if (on_slice) on_slice();
}

// Where the file system cannot do it by ranges, close() does it all at once.
void DatasetParts::send_to_disk(Range range, unsigned how) const {
  if (range.empty()) return;
  const int result =
      sync_file_range(descriptor_, off_t(range.begin), off_t(range.end - range.begin), how);
  if (result != 0 && (errno == EIO || errno == ENOSPC || errno == EDQUOT)) {
    fail("cannot write the file", "");
  }
}

void DatasetParts::close() {
  if (fsync(descriptor_) != 0) fail("cannot write the file", "");
  if (::close(std::exchange(descriptor_, -1)) != 0) fail("cannot close the file", "");
}

}  // namespace elastron
