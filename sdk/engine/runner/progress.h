// Progress: one JSON object per line on standard output, at once.
#pragma once
#include "json.h"

namespace pockettune {

void emit(Json::Object event);

}  // namespace pockettune
