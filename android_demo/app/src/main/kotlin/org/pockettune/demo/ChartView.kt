package org.pockettune.demo

import android.content.Context
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Paint
import android.graphics.Path
import android.view.View
import org.pockettune.demo.model.ChartPoint

/** A line from left to right. */
class ChartView(
    context: Context,
) : View(context) {
    /** What it shows; the oldest point first. */
    var line: List<ChartPoint> = emptyList()
        set(value) {
            field = value
            invalidate()
        }

    private val density = resources.displayMetrics.density
    private val path = Path()
    private val paint =
        Paint(Paint.ANTI_ALIAS_FLAG).apply {
            color = Color.rgb(32, 64, 92)
            style = Paint.Style.STROKE
            strokeWidth = 2 * density
        }

    override fun onMeasure(
        widthMeasureSpec: Int,
        heightMeasureSpec: Int,
    ) = setMeasuredDimension(MeasureSpec.getSize(widthMeasureSpec), (HEIGHT * density).toInt())

    override fun onDraw(canvas: Canvas) {
        path.reset()
        val edge = paint.strokeWidth
        line.forEachIndexed { index, point ->
            val x = edge + point.x * (width - 2 * edge)
            val y = height - edge - point.y * (height - 2 * edge)
            if (index == 0) path.moveTo(x, y) else path.lineTo(x, y)
        }
        canvas.drawPath(path, paint)
    }

    private companion object {
        const val HEIGHT = 96
    }
}
