#include "../../../engine/include/pockettune_engine.h"
