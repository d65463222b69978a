// Unicode Normalization Form C, as the reference's tokenizers have it.
#pragma once
#include <string>
#include <string_view>

namespace elastron::data {

// The NFC of `text`, which must be UTF-8: `text` itself when it has nothing that could change (as
// almost all text), otherwise `storage`, filled with it.
// The reference's tables are those of Unicode 9: what was assigned later is left as it stands.
// Linear but for the sorting of runs of combining marks, n log n.
std::string_view to_nfc(std::string_view text, std::string& storage);

}  // namespace elastron::data
